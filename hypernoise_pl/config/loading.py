"""Configuration files: found by path or short name, read, and merged with the files that they include."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hypernoise_pl.config.files import SWEEPS, conf_folder, config_names, sweep_names
from hypernoise_pl.config.interpolation import resolve, to_omegaconf
from hypernoise_pl.config.merge import merge_config
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.types import did_you_mean


def find_config(name: str, beside: Path | None = None) -> Path:
    """Find a file by its path, or by its short name in ``conf/`` (``shapes_long``, ``rewards/redness``).

    Args:
        name: path or short name.
        beside: folder of the file that includes this one, searched first.

    Raises:
        ConfigError: if there is none.
    """
    first = [] if beside is None else [beside / name]
    for path in (*first, Path(name), conf_folder() / f"{name}.yaml", conf_folder() / name):
        if path.is_file() and path.parent != conf_folder() / SWEEPS:
            return path
    if Path(name).is_dir():
        raise ConfigError(f"config {name}: a folder; give a YAML file")
    if (short := Path(name).with_suffix("").name) in sweep_names():
        raise ConfigError(f"config {name}: a sweep, and no configuration of one run; `sweep {short}` runs it")
    known = config_names()
    hint = did_you_mean(name, known) or f"; conf/ has {', '.join(known)}"
    raise ConfigError(f"config {name}: no such file{hint}")


def load_configs(names: Sequence[str], key_types: Mapping[str, Any] | None = None) -> DictConfig:
    """Merge files; the later one wins, and ``${...}`` reaches across files.

    A file's ``include`` names files that are merged before it. Null in the place of a reward removes it.

    Args:
        names: paths or short names.
        key_types: top-level key -> its type; None leaves top-level keys unchecked.

    Raises:
        ConfigError: for a file that is missing or is no YAML mapping, or for a wrong key or class in it.
    """
    merged: dict[str, Any] = {}
    for name in names:
        merged = merge_file(merged, name, key_types)
    return to_omegaconf(merged, key_types)


def merge_file(config: dict[str, Any], name: str, key_types: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Merge a file, and the files that it includes, over a configuration; raises what ``load_configs`` does."""
    for path, loaded in _load(name):
        config = merge_config(config, loaded, key_types, f"config {path}")
    return config


def read_config(file: Path) -> dict[str, Any]:
    """A run's own configuration, its ``${...}`` resolved.

    Raises:
        ConfigError: if it is no YAML mapping, or an interpolation names nothing.
    """
    return resolve(to_omegaconf(read_mapping(file)))


def read_mapping(path: Path) -> dict[str, Any]:
    """A YAML file's keys and values, every ``${...}`` as it was written.

    Raises:
        ConfigError: if it is no YAML mapping.
    """
    try:
        loaded = OmegaConf.load(path)
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:  # their messages span lines
        raise ConfigError(f"config {path}: not YAML: {' '.join(str(error).split())}") from error
    if path.stat().st_size == 0:
        raise ConfigError(f"config {path}: empty; it needs keys and values")
    if not isinstance(loaded, DictConfig):
        raise ConfigError(f"config {path}: needs keys and values, got {type(loaded).__name__}")
    plain: Any = OmegaConf.to_container(loaded)
    return {str(key): value for key, value in plain.items()}


def _load(name: str, within: tuple[Path, ...] = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The files that a file includes, and then the file itself."""
    path = find_config(name, within[-1].parent if within else None)
    if path in within:
        raise ConfigError(f"config {path}: includes itself, through {within[-1]}")
    loaded = read_mapping(path)
    included: Any = loaded.pop("include", None) or []
    if isinstance(included, str):
        raise ConfigError(f"config {path}: include needs a list of files, like [{included}]")
    for other in included:
        yield from _load(str(other), (*within, path))
    yield path, loaded
