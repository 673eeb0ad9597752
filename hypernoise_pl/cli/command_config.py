"""The configuration of a command: files, flags, and the runs and adapters that it starts from, merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning import Trainer

from hypernoise_pl.cli.adapter_config import check_adapter, merge_adapter, merge_generator, merge_run
from hypernoise_pl.cli.command_table import COMMANDS
from hypernoise_pl.cli.parser import closest, own_flags
from hypernoise_pl.cli.resume import run_folder_of
from hypernoise_pl.compare.config import Comparison
from hypernoise_pl.config.flags import merge_flag, read_flags
from hypernoise_pl.config.flat import changes
from hypernoise_pl.config.loading import merge_file
from hypernoise_pl.config.options import Options
from hypernoise_pl.config.signatures import ArgumentsOf, ConfigError
from hypernoise_pl.data.base import PromptDataModule
from hypernoise_pl.metrics.judge import Judge
from hypernoise_pl.module import HyperNoiseModule
from hypernoise_pl.runs.run_folder import named_folder
from hypernoise_pl.system.files import kind_of_run, newest_run

INSTEAD_IN_COMPARE = {  # flag that compare ignores -> flag that sets the same there
    "model.steps": "compare.methods: each method's steps",
    "model.images_per_prompt": "compare.seeds",
    "trainer.limit_test_batches": "compare.prompts",
    "trainer.overfit_batches": "compare.prompts",
}


@dataclass(frozen=True)
class CommandConfig:
    """The merged configuration of a command.

    Args:
        config: plain configuration, every ``${...}`` as it was written.
        adapter: adapter folder that it starts from; None without one.
        changes: differences from the configuration of the run that ``--ckpt_path`` continues; empty without any.
    """

    config: dict[str, Any]
    adapter: Path | None = None
    changes: str = ""


def merge_command(command: str, options: Options, flags: Sequence[str] = ()) -> CommandConfig:
    """Merge the configuration of a command.

    The order is: ``conf/fit.yaml``, the run that ``--ckpt_path`` continues, the adapter's run and generator,
    ``conf/compare.yaml`` for ``compare``, ``--config`` files, the adapter, flags. The later one wins.

    Args:
        command: name of the command.
        options: flags that are not keys of the configuration.
        flags: the others, as on the command line.

    Raises:
        ConfigError: naming the file or flag, and its error.
        FileNotFoundError: if the command needs an adapter and there is none.
    """
    key_types, comparing = key_types_of(command), command == "compare"
    if comparing and options.budget_seconds is not None:
        flags = [*flags, f"--compare.budget_seconds={options.budget_seconds}"]
    pairs = [*read_flags(flags)]
    config = merge_file({}, "fit", key_types)
    adapter = _adapter(command, options)
    if options.ckpt_path is not None:
        continued = run_folder_of(options.ckpt_path, named_folder(options.output), _kind(command, options))
        config = merge_run(config, continued, key_types, machine=True)
    start = config
    if adapter is not None:
        config = merge_run(config, adapter.parent, key_types)
        config = merge_generator(config, adapter, key_types, [flag for flag, _ in pairs])
    for name in [*(["compare"] if comparing else []), *options.config]:
        config = merge_file(config, name, key_types)
    if adapter is not None:
        config = merge_adapter(config, adapter, key_types)
    for flag, value in pairs:
        check_flag(command, flag)
        if comparing and flag in INSTEAD_IN_COMPARE:
            raise ConfigError(f"--{flag}: compare ignores it; set {INSTEAD_IN_COMPARE[flag]}")
        config = merge_flag(config, flag, value, key_types)
    if adapter is not None and (options.adapter is not None or not comparing):
        check_adapter(config, adapter)
    if command == "cache-prompts" and config["model"]["init_args"].get("prompt_cache") is None:
        raise ConfigError("cache-prompts: the folder is missing; give --model.prompt_cache=DIR, here as for fit")
    return CommandConfig(config, adapter, changes(start, config) if options.ckpt_path is not None else "")


def key_types_of(command: str) -> dict[str, Any]:
    """Top-level key of a command's configuration -> its type."""
    key_types: dict[str, Any] = {
        "description": str,
        "output": str,
        "seed_everything": bool | int,
        "model": HyperNoiseModule,
        "judge": Judge | None,
        "data": PromptDataModule,
        "trainer": ArgumentsOf(Trainer),
    }
    return key_types | ({"compare": Comparison} if command == "compare" else {})


def check_flag(command: str, flag: str) -> None:
    """Check that a dotted name begins with a key of the configuration.

    Args:
        command: name of the command.
        flag: dotted name, without the leading dashes.

    Raises:
        ConfigError: with the commands that have such a flag, or the nearest name.
    """
    key_types: Mapping[str, Any] = key_types_of(command)
    key = flag.partition(".")[0].rstrip("+")
    if key in key_types:
        return
    commands = [name for name in COMMANDS if f"--{key}" in own_flags(name)]
    if commands:
        raise ConfigError(f"--{key}: {command} has no such flag; it is one of {', '.join(commands)}")
    hint = closest(f"--{key}", [*own_flags(command), *(f"--{name}" for name in key_types)])
    raise ConfigError(f"--{key}: no such flag or key{hint}")


def _kind(command: str, options: Options) -> str:
    """The folder under ``runs/`` in which ``--ckpt_path last`` looks for the newest run, as the files set it."""
    config: dict[str, Any] = {}
    for name in options.config:
        config = merge_file(config, name)
    return kind_of_run(command, str(config.get("output") or ""))


def _adapter(command: str, options: Options) -> Path | None:
    """The adapter that a command works with: the named one, or that of the newest fit.

    Raises:
        FileNotFoundError: if there is none, and the command needs one.
    """
    if command in ("fit", "cache-prompts"):
        return None
    if options.adapter is not None:
        return options.adapter
    try:
        return newest_run("fit", "adapter/adapter_model.safetensors") / "adapter"
    except FileNotFoundError:
        if command != "compare":
            raise
        return None
