"""The commands with a configuration: fit, validate, test, predict, compare and cache-prompts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from hypernoise_pl.cli.build import Prepared, build_run, config_yaml, full_config, open_run_folder, prepare
from hypernoise_pl.cli.class_help import class_help
from hypernoise_pl.cli.dry_run import check_files, dry_run
from hypernoise_pl.cli.dry_run_report import print_findings
from hypernoise_pl.cli.instantiate import instantiate
from hypernoise_pl.cli.lightning_cli import print_all_options
from hypernoise_pl.cli.outcome import Outcome
from hypernoise_pl.cli.quiet import count_cut_prompts, quiet
from hypernoise_pl.cli.resume import resume_notes, run_folder_of
from hypernoise_pl.config.options import Options
from hypernoise_pl.data.base import PromptDataModule
from hypernoise_pl.generators.base import Generator
from hypernoise_pl.progress import phase
from hypernoise_pl.runs.cache_prompts import cache_prompts
from hypernoise_pl.runs.compare import compare
from hypernoise_pl.runs.context import RunContext, process_device
from hypernoise_pl.runs.fit import fit
from hypernoise_pl.runs.measure import test, validate
from hypernoise_pl.runs.predict import predict
from hypernoise_pl.runs.run_folder import is_first_process
from hypernoise_pl.system.files import lock_folder
from hypernoise_pl.training.checkpoint_io import checkpoint_to_resume

WORK: dict[str, Callable[[RunContext], Any]] = {
    "fit": fit,
    "validate": validate,
    "test": test,
    "predict": predict,
    "compare": compare,
}


def run(
    command: str, argv: Sequence[str], options: Options, flags: Sequence[str], callbacks: Sequence[Any] = ()
) -> Outcome:
    """Run a command.

    Args:
        command: name of the command.
        argv: arguments of the command line after it.
        options: its flags.
        flags: the remaining arguments: keys of the configuration.
        callbacks: callbacks of ``fit`` beside those of the configuration.

    Returns:
        Exit status and result.
    """
    first = is_first_process()
    with Outcome(command, options.verbose, first) as outcome, quiet(options.verbose), count_cut_prompts():
        if options.help_all:
            print_all_options(command)
            return outcome
        if options.help_class:
            print(class_help(options.help_class))
            return outcome
        prepared = prepare(command, options, flags)
        if options.dry_run:
            _dry_run(prepared, outcome)
        elif options.print_config:
            print(config_yaml(command, prepared.merged.config), end="")
        elif command == "cache-prompts":
            _cache_prompts(prepared, argv, outcome, first)
        else:
            _work(prepared, argv, outcome, first, callbacks)
    return outcome


def _work(prepared: Prepared, argv: Sequence[str], outcome: Outcome, first: bool, callbacks: Sequence[Any]) -> None:
    command, adapter = prepared.command, prepared.merged.adapter
    with open_run_folder(prepared) as folder, resume_notes(command, argv, outcome, folder, adapter):
        context = build_run(prepared, folder, first, callbacks)
        outcome.begun = True
        # predict holds the folder that it completes, and the processes of compare share one
        alone = first and command in ("fit", "validate", "test")
        with lock_folder(folder.path) if alone else contextlib.nullcontext():
            outcome.result = WORK[command](context)


def _dry_run(prepared: Prepared, outcome: Outcome) -> None:
    """Print what a command would do.

    Raises:
        ConfigError: with everything that is missing.
    """
    options, merged = prepared.options, prepared.merged
    if options.ckpt_path is not None:
        checkpoint_to_resume(options.ckpt_path, run_folder_of(options.ckpt_path, options.output))
    config = full_config(prepared.command, merged.config)
    findings = dry_run(prepared.command, config, options)
    outcome.result = findings.as_json()
    print_findings(prepared.command, str(config.get("description") or ""), findings)


def _cache_prompts(prepared: Prepared, argv: Sequence[str], outcome: Outcome, first: bool) -> None:
    """Build generator, prompts and device alone, and encode the prompts."""
    from lightning import Trainer

    with resume_notes("cache-prompts", argv, outcome, None, None):
        config = full_config("cache-prompts", prepared.merged.config)
        if first:
            check_files("cache-prompts", config)
        model, trainer = config["model"]["init_args"], config["trainer"]
        with phase("cache-prompts: loading models"):
            generator = instantiate(Generator, model["generator"], "generator")  # type: ignore[type-abstract]
            datamodule = instantiate(PromptDataModule, config["data"], "data")  # type: ignore[type-abstract]
        device = process_device(
            Trainer(accelerator=trainer["accelerator"], devices=trainer["devices"], logger=False, barebones=True)
        )
        outcome.begun = True
        outcome.result = cache_prompts(generator, datamodule, model["prompt_cache"], device)
