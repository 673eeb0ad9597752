"""The configuration that a run and its adapter were trained with, merged for other commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from hypernoise_pl.adapters.description import generator_config, read_description
from hypernoise_pl.adapters.files import ADAPTER_CLASSES
from hypernoise_pl.config.merge import merge_config
from hypernoise_pl.config.signatures import ConfigError, class_path_of, find_class
from hypernoise_pl.lora.view import LoraOptions

MACHINE_KEYS = ("accelerator", "devices", "num_nodes", "strategy")  # of trainer: they belong to a machine


def merge_run(
    config: dict[str, Any], folder: Path, key_types: Mapping[str, Any], machine: bool = False
) -> dict[str, Any]:
    """Merge the configuration of a fit; a folder that is no fit's run folder changes nothing.

    Args:
        config: plain configuration merged so far.
        folder: run folder.
        key_types: top-level key -> its type.
        machine: whether the run's devices and strategy are merged too.

    Raises:
        ConfigError: if the run's ``config.yaml`` cannot be read.
    """
    file = folder / "config.yaml"
    if not file.is_file():
        return config
    try:
        own = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"config {file}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(own, dict) or not {"model", "data", "trainer"} <= set(own):
        return config  # another program's file
    skipped = () if machine else MACHINE_KEYS
    trainer = {key: value for key, value in (own["trainer"] or {}).items() if key not in skipped}
    return merge_config(config, {**own, "trainer": trainer}, key_types, f"config {file}")


def merge_generator(
    config: dict[str, Any], adapter: Path, key_types: Mapping[str, Any], flags: Sequence[str]
) -> dict[str, Any]:
    """Merge the generator that an adapter was trained with.

    Args:
        config: plain configuration merged so far.
        adapter: adapter folder.
        key_types: top-level key -> its type.
        flags: names of the command line's flags; with one of the generator's, folders that are missing here are left
            out.

    Raises:
        FileNotFoundError: if the adapter or its generator's folder is missing.
        ValueError: if the adapter's description is damaged.
    """
    try:
        generator = generator_config(adapter)
    except FileNotFoundError:
        if not any(_without_init_args(flag).startswith("model.generator.") for flag in flags):
            raise
        description = read_description(adapter)["generator"]
        elsewhere = {key for key, value in description["init_args"].items() if str(value).startswith("./")}
        known = {key: value for key, value in description["init_args"].items() if key not in elsewhere}
        generator = {"class_path": description["class_path"], "init_args": known}
    return merge_config(config, {"model": {"init_args": {"generator": generator}}}, key_types, f"adapter {adapter}")


def merge_adapter(config: dict[str, Any], adapter: Path, key_types: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the kind, rank, scale, layers and mode of an adapter.

    Raises:
        FileNotFoundError: if the adapter is missing.
        ValueError: if its description is damaged.
    """
    description = read_description(adapter)
    trained: dict[str, Any] = {
        "class_path": class_path_of(ADAPTER_CLASSES[description["adapts"]]),
        "init_args": {"lora": {key: description[key] for key in _lora_keys(description)}},
    }
    if description["mode"] is not None:
        trained["init_args"]["mode"] = description["mode"]
    return merge_config(config, {"model": {"init_args": {"adapter": trained}}}, key_types, f"adapter {adapter}")


def check_adapter(config: Mapping[str, Any], adapter: Path) -> None:
    """Check, before anything is loaded, that a configuration builds what an adapter was trained as.

    Raises:
        ConfigError: naming the first difference and the flag to leave out.
    """
    description, arguments = read_description(adapter), config["model"]["init_args"]
    trained = arguments["adapter"]
    options = trained["init_args"]
    generator = find_class(arguments["generator"]["class_path"])
    differences = {
        "model.adapter": (description["adapts"], getattr(find_class(trained["class_path"]), "adapts", None)),
        "model.generator": (description["generator"]["class_path"].rpartition(".")[2], generator.__name__),
        "model.adapter.mode": (description["mode"] or options.get("mode"), options.get("mode")),
    }
    for key in _lora_keys(description):
        differences[f"model.adapter.lora.{key}"] = (description[key], options["lora"][key])
    for flag, (adapter_value, value) in differences.items():
        if adapter_value != value and "${" not in str(value):
            what = "it adapts" if flag == "model.adapter" else f"its {flag.rpartition('.')[2]} is"
            raise ConfigError(
                f"adapter {adapter}: {what} {adapter_value}, not {value}; leave out what says otherwise (--{flag})"
            )


def _lora_keys(description: Mapping[str, Any]) -> list[str]:
    """The options of the LoRA that an adapter records."""
    return [option.name for option in fields(LoraOptions) if option.name in description]


def _without_init_args(flag: str) -> str:
    return ".".join(part for part in flag.split(".") if part != "init_args")
