"""Finds and reads the YAML file of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from hypernoise_pl.cli.command_table import PROGRAM
from hypernoise_pl.config.files import SWEEPS, conf_folder, sweep_names
from hypernoise_pl.config.loading import read_mapping
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.sweep.definition import Definition
from hypernoise_pl.sweep.values import parse_value
from hypernoise_pl.types import did_you_mean


def find_sweep(name: str) -> Path:
    """Find a file by its path, or by its short name in ``conf/sweeps``.

    Raises:
        ConfigError: if there is no such file.
    """
    short = name.removeprefix(f"{SWEEPS}/").removesuffix(".yaml")
    for path in (Path(name), conf_folder() / SWEEPS / f"{short}.yaml"):
        if path.is_file():
            return path
    if Path(name).is_dir():
        raise ConfigError(f"sweep {name}: a folder; give a YAML file, such as {name}/sweep.yaml")
    hint = did_you_mean(short, sweep_names()) or f"; there is {', '.join(sweep_names())}, or give a file"
    raise ConfigError(f"sweep {name}: no such file{hint}")


def read_definition(name: str, flags: Sequence[tuple[str, str]] = ()) -> Definition:
    """Read a sweep's file; flags of the command line are added to the settings of every trial.

    Args:
        name: path or short name.
        flags: dotted name and value of each flag.

    Raises:
        ConfigError: if there is no such file, or a key of it is wrong.
    """
    path = find_sweep(name)
    try:
        loaded = {"name": path.stem, **read_mapping(path)}
        known = [field.name for field in fields(Definition)]
        for key in loaded:
            if key not in known:
                hint = did_you_mean(key, known) or f"; a sweep has {', '.join(known[1:])}"
                raise ConfigError(f"no key is called {key!r}{hint}")
        if isinstance(loaded.get("set", {}), dict):
            loaded["set"] = {**loaded.get("set", {}), **{flag: parse_value(value) for flag, value in flags}}
        definition = Definition(**loaded)
    except ConfigError as error:
        raise ConfigError(f"sweep {path}: {error}") from None
    varied = {setting for dimension in definition.dimensions for setting in dimension.names}
    conflict = next((setting for setting in definition.set if setting in varied), None)
    if conflict is not None:
        raise ConfigError(
            f"sweep {path}: {conflict} is set for every trial and varied; remove one of the two; "
            f"see {PROGRAM} sweep --help"
        )
    return definition
