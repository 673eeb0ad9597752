"""The commands: configuration files merged by OmegaConf, then a LightningCLI builds the parts."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shlex
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from hypernoise_pl.cache_prompts import without_rewards
from hypernoise_pl.checkpoints import newest_checkpoint, newest_run_to_continue, to_continue
from hypernoise_pl.classes import families, page
from hypernoise_pl.config import load_configs
from hypernoise_pl.launched import new_run_of_all
from hypernoise_pl.options import Options
from hypernoise_pl.run_folder import drop_if_empty
from hypernoise_pl.signals import Stopped
from hypernoise_pl.signatures import ConfigError, check_flag, check_keys, parameters
from hypernoise_pl.truncation import counted
from hypernoise_pl.types import nearest

OUTPUT_VARIABLE = "HYPERNOISE_OUTPUT"  # tells the other processes of a run which folder the first one chose


_CHATTER = (
    ".*does not have many workers.*",
    ".*Checkpoint directory.*",
    ".*litlogger.*",
    ".*Experiment logs directory.*",
    ".*weights_only.*",
    ".*args parameter is intended to run from within Python.*",
    ".*sync_dist=True.*",
    ".*overridden `transfer_batch_to_device`.*",
    "Found .* module.* in eval mode.*",
    ".*`isinstance.treespec, LeafSpec.`.*",
)


def run(command: str, argv: Sequence[str]) -> int:
    """Run a command and turn every expected error into one line.

    Returns:
        0 on success, 2 for what the user wrote or gave, 1 for what went wrong later, 143 or 130 after SIGTERM or
        SIGINT.
    """
    from hypernoise_pl.training import NonFiniteError

    first = OUTPUT_VARIABLE not in os.environ and os.environ.get("RANK", "0") == "0"  # of the run's processes
    options, rest = _parser(command).parse_known_args(list(argv), Options())
    started = False
    try:
        with _quiet(options.verbose), _cut_prompts():
            cli = build(command, options, rest)
            if cli is None:
                return 0
            started = True
            from hypernoise_pl import runs

            getattr(runs, command.replace("-", "_"))(cli, options)
        return 0
    except Stopped as stopped:
        if not first:
            return 0  # the first process tells of all
        print(f"hypernoise_pl {command}: {stopped}; {_continuation(command, argv, options)}", file=sys.stderr)
        return stopped.code
    except (ConfigError, FileNotFoundError, NotADirectoryError) as error:
        line, code = str(error), 2
    except NonFiniteError as error:
        line, code = str(error), 1
    except Exception as error:
        if options.verbose:
            traceback.print_exc()
            return 1
        line, code = _one_line(error), 1 if started and not isinstance(error, ValueError) else 2
    finally:
        if first:
            os.environ.pop(OUTPUT_VARIABLE, None)
            if options.made is not None:
                drop_if_empty(options.made)
    print(f"hypernoise_pl {command}: error: {line}", file=sys.stderr)
    return code


def _continuation(command: str, argv: Sequence[str], options: Options) -> str:
    """How to go on after a signal: a command that does, or that there is nothing yet to go on from."""
    anew = "the same command begins anew"
    if command in ("validate", "test") or not options.begun:
        return anew
    if command == "cache-prompts":
        return f"to continue: {_command(command, argv)}"
    more = [f"--output={options.folder}"]
    if command == "fit":
        newest = newest_checkpoint(options.folder)
        if newest is None:
            return f"no checkpoint yet; {anew}"
        return (
            f"step {newest[1]['global_step']} is saved; to continue: "
            f"{_command(command, _without(argv, '--ckpt_path', '--output'))} --ckpt_path=last {shlex.join(more)}"
        )
    if options.adapter is not None:
        more.append(f"--adapter={options.adapter}")
    return f"to continue: {_command(command, _without(argv, '--output', '--adapter'))} {shlex.join(more)}"


def _command(command: str, argv: Sequence[str]) -> str:
    return shlex.join(["python", "-m", "hypernoise_pl", command, *argv])


def _without(argv: Sequence[str], *flags: str) -> list[str]:
    """A command line without some flags and their values."""
    kept, left = [], iter(argv)
    for argument in left:
        if argument in flags:
            next(left, None)
        elif not argument.startswith(tuple(f"{flag}=" for flag in flags)):
            kept.append(argument)
    return kept


def _parser(command: str) -> argparse.ArgumentParser:
    """The flags of a command that are not keys of the configuration; ``Options`` has their defaults."""
    parser = argparse.ArgumentParser(prog=f"python -m hypernoise_pl {command}", add_help=False, allow_abbrev=False)
    parser.add_argument("--config", action="append")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--help-all", action="store_true")
    parser.add_argument("--help-class")
    parser.add_argument("--print_config", action="store_true")
    if command == "fit":
        parser.add_argument("--ckpt_path")
    elif command != "cache-prompts":
        parser.add_argument("--adapter", type=Path)
    if command == "compare":
        parser.add_argument("--shard")
        parser.add_argument("--budget-seconds")
    if command == "predict":
        parser.add_argument("--prompt", action="append")
        parser.add_argument("--prompts", type=Path)
        parser.add_argument("--seeds")
        parser.add_argument("--steps", type=int)
        parser.add_argument("--strength", type=float)
    return parser


def build(command: str, options: Options, overrides: list[str]) -> Any:
    """Merge and check the configuration, then build model, data and trainer; None if it was only to be shown.

    Raises:
        ConfigError: before anything is built, for whatever is wrong with files or flags.
    """
    if options.help_all:
        _parse(["--help"], command)
        return None
    if options.help_class:
        print(page(options.help_class))
        return None
    comparing = command == "compare"
    config = load_configs(
        ["fit", *(["compare"] if comparing else []), *options.config], ["compare"] if comparing else []
    )
    if comparing and options.budget_seconds is not None:
        overrides = [*overrides, f"--compare.budget_seconds={options.budget_seconds}"]
    if command == "cache-prompts":
        config, overrides = without_rewards(config, overrides)
    _check(config, overrides)
    if options.print_config:
        overrides = [*overrides, "--print_config"]
    else:
        options.chosen = options.output is not None or OUTPUT_VARIABLE in os.environ
        begins = OUTPUT_VARIABLE not in os.environ and os.environ.get("RANK", "0") == "0"
        options.folder = _output(command, options)
        if command == "fit" and (begins or options.ckpt_path is not None):
            options.checkpoint = to_continue(options.ckpt_path, options.folder)
        options.begun = True
        overrides = [*overrides, f"--output={options.folder}"]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as merged:
        OmegaConf.save(config, merged.name)
        return _parse(["--config", merged.name, *overrides], command)


def _output(command: str, options: Options) -> Path:
    """The run folder: that of the run's first process, the one asked for, the one to continue, or a new one."""
    if OUTPUT_VARIABLE in os.environ:
        return Path(os.environ[OUTPUT_VARIABLE])
    folder = options.output
    if folder is None and options.ckpt_path == "last":
        folder = newest_run_to_continue()
    if folder is None:
        folder = options.made = new_run_of_all(command)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--output {folder}: a file; give a folder")
    os.environ[OUTPUT_VARIABLE] = str(folder)
    return Path(folder)


def _parse(arguments: list[str], command: str) -> Any:
    """Build everything with LightningCLI; its parser's long complaints become one line."""
    from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

    from hypernoise_pl.callbacks.evaluate import Evaluate
    from hypernoise_pl.data.base import PromptDataModule
    from hypernoise_pl.metrics.judge import Judge
    from hypernoise_pl.module import HyperNoiseModule

    class CLI(LightningCLI):
        def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
            parser.add_argument("--about", default="", help="what the start line says of this run")
            parser.add_argument("--expected_minutes", default=None, type=float | None, help="for the start line")
            parser.add_argument("--output", default="runs/fit", help="run folder")
            parser.add_argument("--judge", type=Judge | None, default=None, help="held out; null for none")
            if command == "compare":
                from hypernoise_pl.comparison import Comparison

                parser.add_argument("--compare", type=Comparison, help="methods, prompts and noises")

        def before_instantiate_classes(self) -> None:
            check_weights(self.config)

        def instantiate_trainer(self, **kwargs: Any) -> Any:
            trainer = super().instantiate_trainer(**kwargs)
            if any(isinstance(callback, Evaluate) for callback in trainer.callbacks):
                raise ConfigError("trainer.callbacks: Evaluate is always there; its judge is the key `judge`")
            trainer.callbacks.insert(0, Evaluate(self.config_init.judge))
            return trainer

    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return CLI(
                HyperNoiseModule,
                PromptDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                auto_configure_optimizers=False,
                save_config_callback=None,
                run=False,
                args=arguments,
                parser_kwargs={"parser_mode": "omegaconf+", "prog": f"python -m hypernoise_pl {command}"},
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            return None
        raise ConfigError(_complaint(complaint.getvalue())) from None
    finally:
        if sys.exc_info()[0] is None:
            sys.stderr.write(complaint.getvalue())


def check_weights(config: Any) -> None:
    """Compare the names of rewards and weights before any weight is loaded.

    Raises:
        ConfigError: for a weight without a reward or a reward without a weight.
    """
    model = config.model.init_args
    rewards, weights = model.rewards or {}, model.reward_weights or {}
    for name in weights:
        if name not in rewards:
            raise ConfigError(f"model.reward_weights: no reward is called {name!r}{nearest(name, rewards)}")
    for name in rewards:
        if name not in weights:
            raise ConfigError(f"model.reward_weights: reward {name!r} has no weight; give it one (0: only log it)")


def _check(config: DictConfig, overrides: list[str]) -> None:
    """Every key of the files and flags, against the signatures of the classes they name."""
    from lightning import Trainer

    from hypernoise_pl.comparison import Comparison
    from hypernoise_pl.data.base import PromptDataModule
    from hypernoise_pl.metrics.judge import Judge
    from hypernoise_pl.module import HyperNoiseModule

    families()
    plain: Any = OmegaConf.to_container(config)
    for key in ("trainer", "model", "data", "judge"):
        check_keys(plain.get(key), None, key)
    check_keys(plain.get("compare"), Comparison, "compare")
    known = parameters(Trainer)
    for key in plain.get("trainer") or {}:
        if key not in known:
            raise ConfigError(f"trainer: no key is called {key!r}{nearest(key, known)}")
    for flag in overrides:
        if not flag.startswith("--"):
            continue
        name, _, value = flag[2:].partition("=")
        roots = {
            "trainer": Trainer,
            "model": HyperNoiseModule,
            "data": PromptDataModule,
            "judge": Judge,
            "seed_everything": int,
        }
        roots |= {"compare": Comparison} if "compare" in plain else {}
        check_flag(name, value, plain, roots)


def _complaint(text: str) -> str:
    """What the parser says under its pages of usage, in one line: the key, and what it wanted there."""
    text = text.rpartition("error: ")[2]
    keys = re.findall(r'Parser key "([^"]+)"', text)
    said = [line.strip(" -") for line in text.splitlines()]
    telling = [
        line for line in said if line and not re.match(r"Parser key|Does not|Subtypes|Errors|Problem|Given", line)
    ]
    wanted = [line for line in telling if "NoneType" not in line] or telling or said
    return f"--{'.'.join(dict.fromkeys(keys))}: {wanted[0]}" if keys else wanted[0]


def _one_line(error: BaseException) -> str:
    """The first cause's own words: the parser wraps what a class raises in a page of its own."""
    text = " ".join(str(error).split())
    wrapped = re.search(r"Errors: - (.*?) - Expected a <class 'NoneType'>", text)
    text = wrapped.group(1) if wrapped else text
    known = isinstance(error, (ValueError, OSError)) or type(error).__name__ == "MisconfigurationException"
    return text if known and text else f"{type(error).__name__}: {text}; --verbose shows where"


@contextlib.contextmanager
def _cut_prompts() -> Iterator[None]:
    """Say at the end, on the first process, how many prompts each text encoder has cut."""
    with counted() as readers:
        try:
            yield
        finally:
            if int(os.environ.get("LOCAL_RANK", 0)) == 0:
                for line in filter(None, (reader.share() for reader in readers)):
                    print(f"warning: {line}", file=sys.stderr)


@contextlib.contextmanager
def _quiet(verbose: bool) -> Iterator[None]:
    """Leave out what libraries say of themselves and no user can act upon."""
    import logging

    with warnings.catch_warnings():
        if not verbose:
            warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
            for category in (FutureWarning, DeprecationWarning):
                warnings.simplefilter("ignore", category)
            for part in _CHATTER:
                warnings.filterwarnings("ignore", part)
            for name in (
                "lightning.pytorch.utilities.rank_zero",
                "lightning.pytorch.trainer.connectors.signal_connector",
                "lightning.fabric.utilities.seed",
                "transformers",
            ):
                logging.getLogger(name).setLevel(logging.WARNING)
        yield
