"""What a run and its adapter know of their training, as a configuration: what other commands start from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from hypernoise_pl.adapters.description import describe, generator_of
from hypernoise_pl.adapters.files import KINDS
from hypernoise_pl.config.merge import merge_config
from hypernoise_pl.config.signatures import ConfigError, class_path_of, find_class
from hypernoise_pl.lora.view import LoraOptions

OF_THE_MACHINE = ("accelerator", "devices", "num_nodes", "strategy")  # Trainer's: where a run is, not what it is


def of_run(config: dict[str, Any], folder: Path, roots: Mapping[str, Any], machine: bool = False) -> dict[str, Any]:
    """A configuration with that of a fit merged over it; a folder that is none of a fit changes nothing.

    Args:
        config: plain, merged so far.
        folder: of the run.
        roots: top-level key -> its type.
        machine: with the run's devices and strategy too.

    Raises:
        ConfigError: if the run's ``config.yaml`` cannot be read.
    """
    file = folder / "config.yaml"
    if not file.is_file():
        return config
    try:
        found = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"config {file}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict) or not {"model", "data", "trainer"} <= set(found):
        return config  # of something else
    left_out = () if machine else OF_THE_MACHINE
    trainer = {key: value for key, value in (found["trainer"] or {}).items() if key not in left_out}
    return merge_config(config, {**found, "trainer": trainer}, roots, f"config {file}")


def with_generator(
    config: dict[str, Any], adapter: Path, roots: Mapping[str, Any], flags: Sequence[str]
) -> dict[str, Any]:
    """A configuration with the generator that an adapter was trained with.

    Args:
        config: plain, merged so far.
        adapter: its folder.
        roots: top-level key -> its type.
        flags: names of the command line's flags; one of the generator's says where a folder is that is elsewhere here.

    Raises:
        FileNotFoundError: if the adapter or its generator's folder is missing.
        ValueError: if the adapter's description is damaged.
    """
    try:
        generator = generator_of(adapter)
    except FileNotFoundError:
        if not any(_plain(flag).startswith("model.generator.") for flag in flags):
            raise
        about = describe(adapter)["generator"]
        elsewhere = {key for key, value in about["init_args"].items() if str(value).startswith("./")}
        known = {key: value for key, value in about["init_args"].items() if key not in elsewhere}
        generator = {"class_path": about["class_path"], "init_args": known}
    return merge_config(config, {"model": {"init_args": {"generator": generator}}}, roots, f"adapter {adapter}")


def with_adapter(config: dict[str, Any], adapter: Path, roots: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration whose module trains what an adapter is: its kind, rank, scale, layers and mode.

    Raises:
        FileNotFoundError: if the adapter is missing.
        ValueError: if its description is damaged.
    """
    about = describe(adapter)
    trained: dict[str, Any] = {
        "class_path": class_path_of(KINDS[about["adapts"]]),
        "init_args": {"lora": {key: about[key] for key in _lora_keys(about)}},
    }
    if about["mode"] is not None:
        trained["init_args"]["mode"] = about["mode"]
    return merge_config(config, {"model": {"init_args": {"adapter": trained}}}, roots, f"adapter {adapter}")


def check_adapter(config: Mapping[str, Any], adapter: Path) -> None:
    """Compare a configuration with what an adapter knows, before anything is loaded.

    Raises:
        ConfigError: naming the first difference and the flag to leave out.
    """
    about, arguments = describe(adapter), config["model"]["init_args"]
    trained = arguments["adapter"]
    options = trained["init_args"]
    generator = find_class(arguments["generator"]["class_path"])
    differences = {
        "model.adapter": (about["adapts"], getattr(find_class(trained["class_path"]), "adapts", None)),
        "model.generator": (about["generator"]["class_path"].rpartition(".")[2], generator.__name__),
        "model.adapter.mode": (about["mode"] or options.get("mode"), options.get("mode")),
    }
    for key in _lora_keys(about):
        differences[f"model.adapter.lora.{key}"] = (about[key], options["lora"][key])
    for flag, (theirs, ours) in differences.items():
        if theirs != ours and "${" not in str(ours):
            what = "it adapts" if flag == "model.adapter" else f"its {flag.rpartition('.')[2]} is"
            raise ConfigError(
                f"adapter {adapter}: {what} {theirs}, not {ours}; leave out what says otherwise (--{flag})"
            )


def _lora_keys(about: Mapping[str, Any]) -> list[str]:
    """The LoRA's options that an adapter remembers."""
    return [option.name for option in fields(LoraOptions) if option.name in about]


def _plain(flag: str) -> str:
    return ".".join(part for part in flag.split(".") if part != "init_args")
