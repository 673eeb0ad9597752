"""A command's model, data, trainer and run folder, built from its configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import yaml

from hypernoise_pl.cli.class_help import import_all_modules
from hypernoise_pl.cli.command_config import CommandConfig, key_types_of, merge_command
from hypernoise_pl.cli.dry_run import SPLITS, check_files
from hypernoise_pl.cli.lightning_cli import HyperNoiseCLI
from hypernoise_pl.cli.predict_request import read_request
from hypernoise_pl.config.interpolation import resolve, to_omegaconf
from hypernoise_pl.config.options import Options
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.runs.context import PredictRequest, RunContext
from hypernoise_pl.runs.run_folder import RunFolder, is_first_process, named_folder
from hypernoise_pl.system.files import kind_of_run
from hypernoise_pl.training.checkpoint_io import check_unused, checkpoint_to_resume, newest_resumable_run


@dataclass(frozen=True)
class Prepared:
    """A command whose flags and configuration are read and merged; nothing is built or made yet.

    Args:
        command: name of the command.
        options: flags of the command.
        merged: configuration of the command.
        request: images that ``predict`` is asked for; None for other commands.
    """

    command: str
    options: Options
    merged: CommandConfig
    request: PredictRequest | None = None


def prepare(command: str, options: Options, flags: Sequence[str]) -> Prepared:
    """Read and merge the flags and the configuration of a command.

    Raises:
        ConfigError: for an error in files or flags.
        FileNotFoundError: if a file is missing.
    """
    if options.output is not None and options.output.exists() and not options.output.is_dir():
        raise ConfigError(f"--output {options.output}: a file; give a folder")
    import_all_modules()
    request = read_request(options) if command == "predict" else None
    return Prepared(command, options, merge_command(command, options, flags), request)


def open_run_folder(prepared: Prepared) -> RunFolder:
    """Choose the run folder of a command, or make a new one.

    Raises:
        ConfigError: if several processes cannot agree on a new one.
        FileNotFoundError: if there is no run to continue.
    """
    command, options, config = prepared.command, prepared.options, prepared.merged.config
    trial = command in ("fit", "validate", "test") and bool((config.get("trainer") or {}).get("fast_dev_run"))
    kind = kind_of_run(command, str(config.get("output") or ""))
    output = options.output
    if options.ckpt_path == "last" and named_folder(output) is None and not trial:
        output = newest_resumable_run(kind)
    return RunFolder(kind, output, trial)


def build_run(prepared: Prepared, folder: RunFolder, first: bool, callbacks: Sequence[Any] = ()) -> RunContext:
    """Build the model, data and trainer of a command.

    Args:
        prepared: command.
        folder: its run folder.
        first: whether this is the first process of the run.
        callbacks: callbacks of ``fit`` beside those of the configuration.

    Raises:
        ConfigError: for a wrong value, a missing file, or a run folder that holds another run.
        FileNotFoundError: if there is no checkpoint to continue from.
    """
    command, options, merged = prepared.command, prepared.options, prepared.merged
    checkpoint = None
    if command == "fit" and (first or options.ckpt_path is not None):
        checkpoint = checkpoint_to_resume(options.ckpt_path, folder.path)
    if command in ("validate", "test") and first:
        check_unused(folder.path)
    written = {**merged.config, "output": str(folder.path)}
    config = resolve(to_omegaconf(written, key_types_of(command)))
    check = partial(check_files, command) if first and command in SPLITS else None
    cli = HyperNoiseCLI(command, config, written, check=check)
    return RunContext(
        model=cli.model,
        datamodule=cli.datamodule,
        trainer=cli.trainer,
        judge=cli.config_init.judge,
        comparison=cli.config_init.compare if command == "compare" else None,
        description=cli.config.description,
        config_yaml=cli.config_yaml,
        options=options,
        folder=folder,
        adapter=merged.adapter,
        checkpoint=checkpoint,
        changes=merged.changes,
        request=prepared.request,
        callbacks=callbacks,
    )


def build(command: str, options: Options, flags: Sequence[str] = ()) -> RunContext:
    """Build a command's model, data, trainer and run folder, from Python.

    Processes that are started later do not inherit the run folder.

    Raises:
        ConfigError: for an error in files, flags or values.
        FileNotFoundError: if a file, an adapter or a checkpoint is missing.
    """
    prepared, first = prepare(command, options, flags), is_first_process()
    folder = open_run_folder(prepared)
    try:
        run = build_run(prepared, folder, first)
    except BaseException:
        folder.close()
        raise
    folder.forget()
    return run


def full_config(command: str, written: dict[str, Any]) -> dict[str, Any]:
    """A merged configuration with every default filled in and every ``${...}`` resolved; nothing is built.

    Raises:
        ConfigError: for a value of the wrong type.
    """
    return resolve(to_omegaconf(yaml.safe_load(config_yaml(command, written))))


def config_yaml(command: str, written: dict[str, Any]) -> str:
    """A merged configuration as YAML, every default filled in and every ``${...}`` as it was written.

    Raises:
        ConfigError: for a value of the wrong type.
    """
    config = resolve(to_omegaconf(written, key_types_of(command)))
    return HyperNoiseCLI(command, config, written, check_only=True).config_yaml
