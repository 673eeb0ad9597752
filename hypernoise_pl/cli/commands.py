"""The commands: configuration files merged by OmegaConf, then a LightningCLI builds the parts."""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import shlex
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import yaml

from hypernoise_pl.cli.adapter_config import check_adapter, of_run, with_adapter, with_generator
from hypernoise_pl.cli.class_help import families, page
from hypernoise_pl.cli.continuing import changes, run_of, to_look_at
from hypernoise_pl.cli.dry_run import SPLITS, check_files, dry_run, in_lines, lines
from hypernoise_pl.cli.errors import first_cause
from hypernoise_pl.cli.parser import COMMANDS, closest, own_flags
from hypernoise_pl.config.merge import finished, merge_file, merge_flag, pairs_of, resolved, with_interpolations
from hypernoise_pl.config.options import Options
from hypernoise_pl.config.signatures import ArgumentsOf, ConfigError
from hypernoise_pl.distributed.launched import new_run_of_all
from hypernoise_pl.progress import in_terminal, phase
from hypernoise_pl.progress.truncation import counted
from hypernoise_pl.runs.cache_prompts import without_rewards
from hypernoise_pl.system.files import drop_if_empty, held, kind_of_run, newest_run
from hypernoise_pl.system.signals import Stopped
from hypernoise_pl.training.checkpoint_io import check_unused, newest_checkpoint, newest_run_to_continue, to_continue
from hypernoise_pl.types import Prompt

OF_COMPARE = {  # flags of other commands -> what compare has in their place
    "model.steps": "compare.methods: each method's steps",
    "model.images_per_prompt": "compare.seeds",
    "trainer.limit_test_batches": "compare.prompts",
    "trainer.overfit_batches": "compare.prompts",
}
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
    "Mismatch dtype between input and weight.*",
    ".*`isinstance.treespec, LeafSpec.`.*",
)


def run(command: str, argv: Sequence[str], options: Options, rest: list[str]) -> int:
    """Run a command and turn every expected error into one line.

    Args:
        command: its name.
        argv: the command line after it.
        options: its flags.
        rest: what is left of the command line: keys of the configuration.

    Returns:
        0 on success, 2 for what the user wrote or gave, 1 for what went wrong later, 143 or 130 after SIGTERM or
        SIGINT.
    """
    from hypernoise_pl.training.adapter_module import NonFiniteError

    first = OUTPUT_VARIABLE not in os.environ and os.environ.get("RANK", "0") == "0"  # of the run's processes
    started, began = False, time.time()
    try:
        with quiet(options.verbose), _cut_prompts():
            cli = build(command, options, rest)
            if cli is None:
                return 0
            started = True
            from hypernoise_pl.runs import commands as runs

            alone = first and command in ("fit", "validate", "test")  # predict holds the folder that it finds
            with held(options.folder) if alone else contextlib.nullcontext():
                getattr(runs, command.replace("-", "_"))(cli, options)
        return 0
    except Stopped as stopped:
        if not first:
            return 0  # the first process tells of all
        print(f"hypernoise_pl {command}: {stopped}; {_continuation(command, argv, options)}", file=sys.stderr)
        _say_kept(command, options, began)
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
        if options.scratch is not None:
            options.scratch.cleanup()
    print(f"hypernoise_pl {command}: error: {line}", file=sys.stderr)
    if command in ("fit", "compare") and started and first:
        if command == "fit" and newest_checkpoint(options.folder) is not None:
            print(f"hypernoise_pl fit: {_continuation(command, argv, options)}", file=sys.stderr)
        _say_kept(command, options, began)
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
        return f"step {newest[1]['global_step']} is saved; to continue: {_command('fit', ['--ckpt_path=last', *more])}"
    if options.adapter is not None:
        more.append(f"--adapter={options.adapter}")
    return f"to continue: {_command(command, _without(argv, '--output', '--adapter'))} {shlex.join(more)}"


def _say_kept(command: str, options: Options, began: float) -> None:
    """Say what a run that is stopped leaves to look at, a line each."""
    found = to_look_at(options.folder, began) if command in ("fit", "compare") and options.begun else {}
    for name, path in found.items():
        print(f"hypernoise_pl {command}: {name}: {path}", file=sys.stderr)


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


def build(command: str, options: Options, flags: list[str]) -> Any:
    """Merge and check the configuration, then build model, data and trainer; None if it was only to be shown.

    Raises:
        ConfigError: before anything is built, for whatever is wrong with files or flags.
    """
    if options.help_all:
        _help_all(command)
        return None
    if options.help_class:
        print(page(options.help_class))
        return None
    if options.output is not None and options.output.exists() and not options.output.is_dir():
        raise ConfigError(f"--output {options.output}: a file; give a folder")
    if command == "predict":
        _read_request(options)
    families()
    written = configuration(command, options, flags)
    options.chosen = options.output is not None or OUTPUT_VARIABLE in os.environ
    if options.dry_run and options.ckpt_path is not None:
        to_continue(options.ckpt_path, run_of(options.ckpt_path, options.output))
    if not options.print_config and not options.dry_run:
        trial = command in ("fit", "validate", "test") and bool((written.get("trainer") or {}).get("fast_dev_run"))
        begins = OUTPUT_VARIABLE not in os.environ and os.environ.get("RANK", "0") == "0"
        kind = kind_of_run(command, str(written.get("output") or ""))
        options.folder = _output(kind, options, trial)
        if command == "fit" and (begins or options.ckpt_path is not None):
            options.checkpoint = to_continue(options.ckpt_path, options.folder)
        if command in ("validate", "test") and begins:
            check_unused(options.folder)
        options.begun = True
        written["output"] = str(options.folder)
    roots = roots_of(command)
    config = resolved(finished(written, roots))
    if options.dry_run:
        return _dry_run(command, _parse(config, written, command, only_checked=True), options)
    if not options.print_config and begins and command in SPLITS:
        check_files(command, config)
    return _parse(config, written, command, options.print_config)


def _dry_run(command: str, config: str, options: Options) -> None:
    """Say what a command would do.

    Raises:
        ConfigError: if something is missing, with all of it.
    """
    full = resolved(finished(yaml.safe_load(config)))
    found = dry_run(command, full, options)
    options.result = {"found": found.lines, "missing": found.missing, "unknown": found.unknown}
    print("\n".join([f"{command}: dry run, nothing is made: {full.get('description') or ''}", *lines(found)]))
    if found.missing:
        raise ConfigError(in_lines(found.missing))
    unknown = f", but for {', '.join(found.unknown)}, not on this machine" if found.unknown else ""
    print(f"nothing is missing{unknown}; without --dry-run the command runs")


def configuration(command: str, options: Options, flags: Sequence[str]) -> dict[str, Any]:
    """The files and flags of a command line, merged; plain, with every ``${...}`` as it was written.

    Raises:
        ConfigError: naming the file or flag, and what is wrong with it.
    """
    roots, comparing = roots_of(command), command == "compare"
    if comparing and options.budget_seconds is not None:
        flags = [*flags, f"--compare.budget_seconds={options.budget_seconds}"]
    pairs = [*pairs_of(flags)]
    config = merge_file({}, "fit", roots)
    adapter, named = _adapter(command, options)
    if options.ckpt_path is not None:
        chosen = options.output or os.environ.get(OUTPUT_VARIABLE)
        run_folder = run_of(options.ckpt_path, Path(chosen) if chosen else None, _kind(command, options))
        config = of_run(config, run_folder, roots, machine=True)
    going_on = config
    if adapter is not None:
        config = of_run(config, adapter.parent, roots)
        config = with_generator(config, adapter, roots, [flag for flag, _ in pairs])
    for name in [*(["compare"] if comparing else []), *options.config]:
        config = merge_file(config, name, roots)
    if adapter is not None:
        config = with_adapter(config, adapter, roots)
    for flag, value in pairs:
        _check_key(command, flag.partition(".")[0].rstrip("+"), roots)
        if comparing and flag in OF_COMPARE:
            raise ConfigError(f"--{flag}: compare takes no notice of it; set {OF_COMPARE[flag]}")
        config = merge_flag(config, flag, value, roots)
    if options.ckpt_path is not None:
        options.changed = changes(going_on, config)
    if adapter is not None and (named or not comparing):
        check_adapter(config, adapter)
    return without_rewards(config) if command == "cache-prompts" else config


def roots_of(command: str) -> dict[str, Any]:
    """The keys that a configuration has, and their types."""
    from lightning import Trainer

    from hypernoise_pl.compare.config import Comparison
    from hypernoise_pl.data.base import PromptDataModule
    from hypernoise_pl.metrics.judge import Judge
    from hypernoise_pl.module import HyperNoiseModule

    roots: dict[str, Any] = {
        "description": str,
        "output": str,
        "seed_everything": bool | int,
    }
    roots |= {"model": HyperNoiseModule, "judge": Judge | None, "data": PromptDataModule}
    return roots | {"trainer": ArgumentsOf(Trainer)} | ({"compare": Comparison} if command == "compare" else {})


def check_flag(command: str, flag: str) -> None:
    """Check that a dotted name begins with a key of the configuration.

    Raises:
        ConfigError: with the nearest name.
    """
    _check_key(command, flag.partition(".")[0].rstrip("+"), roots_of(command))


def checked(command: str, written: dict[str, Any]) -> dict[str, Any]:
    """A merged configuration with every default filled in and every ``${...}`` replaced; nothing is built.

    Raises:
        ConfigError: for a value of the wrong type.
    """
    text = _parse(resolved(finished(written, roots_of(command))), written, command, only_checked=True)
    return resolved(finished(yaml.safe_load(text)))


def _kind(command: str, options: Options) -> str:
    """Where the runs are of which ``--ckpt_path last`` continues the newest: as the named files have it."""
    named: dict[str, Any] = {}
    for name in options.config:
        named = merge_file(named, name)
    return kind_of_run(command, str(named.get("output") or ""))


def _adapter(command: str, options: Options) -> tuple[Path | None, bool]:
    """The adapter that a command works with, and whether it was named; that of the newest fit if not.

    Raises:
        FileNotFoundError: if there is none, and the command cannot do without.
    """
    if command in ("fit", "cache-prompts"):
        return None, False
    named = options.adapter is not None
    if not named:
        try:
            options.adapter = newest_run("fit", "adapter/adapter_model.safetensors") / "adapter"
        except FileNotFoundError:
            if command != "compare":
                raise
    return options.adapter, named


def _read_request(options: Options) -> None:
    """Read what ``predict`` is asked for, before anything is loaded.

    Raises:
        ConfigError: for what is not there or out of its range.
    """
    from hypernoise_pl.data.reading import read_prompts

    if options.benchmark is not None:
        _read_benchmark(options)
    else:
        if options.metadata is not None:
            raise ConfigError("--metadata: a benchmark's file; name the benchmark too: --benchmark NAME")
        prompts = [Prompt(text) for text in options.prompt]
        prompts += read_prompts(options.prompts) if options.prompts is not None else []
        options.requested = [replace(prompt, index=index) for index, prompt in enumerate(prompts)]
        if not options.requested:
            raise ConfigError("predict: no prompts; give --prompt TEXT, --prompts FILE or --benchmark NAME")
    count = 1 if options.layout is None else options.layout.images
    seeds = ",".join(map(str, range(count))) if options.seeds is None else options.seeds
    try:
        options.seed_numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError:
        raise ConfigError(f"--seeds {seeds}: needs whole numbers with commas between, like 0,1,2") from None
    twice = next((seed for seed, count in Counter(options.seed_numbers).items() if count > 1), None)
    if twice is not None:
        raise ConfigError(f"--seeds {seeds}: {twice} is there twice, and would be one image; leave one out")
    if options.steps is not None and options.steps < 1:
        raise ConfigError(f"--steps {options.steps}: at least 1 is needed")
    if not math.isfinite(options.strength):
        raise ConfigError(f"--strength {options.strength}: needs a finite number, like 1")


def _read_benchmark(options: Options) -> None:
    """The layout of a benchmark's images, and its prompts, if they are given; else ``predict`` takes the test prompts.

    Raises:
        ConfigError: for a benchmark that is not there, or prompts beside it.
    """
    from hypernoise_pl.cli.benchmark_config import class_of
    from hypernoise_pl.cli.benchmark_config import configuration as of_benchmark

    if options.prompt or options.prompts is not None:
        raise ConfigError("--benchmark: has prompts of its own; leave --prompt and --prompts out")
    config = of_benchmark(str(options.benchmark))
    kind = class_of(config)
    arguments = config["benchmark"].get("init_args") or {}
    options.layout = kind.layout(**arguments)
    if options.metadata is not None:
        options.requested = kind.read(options.metadata, **arguments)


def _check_key(command: str, key: str, roots: Mapping[str, Any]) -> None:
    """Raise for a flag that is neither a key nor one of the command's own: with who has it, or the nearest name."""
    flag = f"--{key}"
    if key in roots:
        return
    having = [name for name in COMMANDS if flag in own_flags(name)]
    if having:
        raise ConfigError(f"{flag}: {command} has no such flag; it is one of {', '.join(having)}")
    near = closest(flag, [*own_flags(command), *(f"--{root}" for root in roots)])
    raise ConfigError(f"{flag}: no such flag or key{near}")


def _output(kind: str, options: Options, trial: bool) -> Path:
    """The run folder: of the run's first process, asked for, to continue, or new; a trial run's is removed later."""
    if OUTPUT_VARIABLE in os.environ:
        return Path(os.environ[OUTPUT_VARIABLE])
    folder = options.output
    if trial:
        options.scratch = tempfile.TemporaryDirectory()
        folder = Path(options.scratch.name)
    elif folder is None and options.ckpt_path == "last":
        folder = newest_run_to_continue(kind)
    if folder is None:
        folder = options.made = new_run_of_all(kind)
    os.environ[OUTPUT_VARIABLE] = str(folder)
    return Path(folder)


def _help_all(command: str) -> None:
    with contextlib.suppress(SystemExit):
        _lightning_cli(command, ["--help"])


def _parse(
    config: dict[str, Any], written: dict[str, Any], command: str, shown: bool = False, only_checked: bool = False
) -> Any:
    """Build everything with LightningCLI; its parser's long complaints become one line.

    Args:
        config: plain, resolved.
        written: the same, with every ``${...}`` as it was written.
        command: of the command line.
        shown: print the configuration with every default filled in, and build nothing.
        only_checked: return that text, and build nothing.
    """
    complaint, terminal = io.StringIO(), sys.stderr
    try:
        with contextlib.redirect_stderr(complaint):
            return _lightning_cli(command, config, written, shown or only_checked, terminal)
    except _Checked as checked:
        if only_checked:
            return str(checked)
        print(checked, end="")
        return None
    except SystemExit as stop:
        if stop.code in (0, None):
            return None
        raise ConfigError(_complaint(complaint.getvalue())) from None
    finally:
        if sys.exc_info()[0] is None:
            sys.stderr.write(complaint.getvalue())


class _Checked(Exception):
    """A configuration is right and every default is filled in: the text is its YAML."""


def _lightning_cli(
    command: str,
    arguments: Any,
    written: dict[str, Any] | None = None,
    shown: bool = False,
    stderr: TextIO | None = None,
) -> Any:
    from lightning.pytorch.callbacks import ProgressBar
    from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

    from hypernoise_pl.callbacks.evaluate import Evaluate
    from hypernoise_pl.callbacks.follow_load import FollowLoad
    from hypernoise_pl.data.base import PromptDataModule
    from hypernoise_pl.metrics.judge import Judge
    from hypernoise_pl.module import HyperNoiseModule, check_rewards

    class CLI(LightningCLI):
        written_config = ""  # YAML: every default filled in, every ${...} as it was written

        def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
            parser.add_argument("--description", default="", help="purpose of the run, shown in its first line")
            parser.add_argument("--output", default="runs/fit", help="run folder")
            parser.add_argument("--judge", type=Judge | None, default=None, help="held out; null for none")
            if command == "compare":
                from hypernoise_pl.compare.config import Comparison

                parser.add_argument("--compare", type=Comparison, help="methods, prompts and noises")

        def before_instantiate_classes(self) -> None:
            arguments = self.config.model.init_args
            try:
                check_rewards(arguments.rewards or {}, arguments.reward_weights or {})
            except ValueError as error:
                raise ConfigError(f"model.{error}") from None
            full = yaml.safe_load(self.parser.dump(self.config, skip_none=False, skip_check=True))
            full.pop("config", None)
            self.written_config = yaml.safe_dump(with_interpolations(full, written), sort_keys=False, width=120)
            if shown:
                raise _Checked(self.written_config)

        def instantiate_classes(self) -> None:
            with contextlib.redirect_stderr(stderr or sys.stderr), phase(f"{command}: loading models"):
                super().instantiate_classes()

        def instantiate_trainer(self, **kwargs: Any) -> Any:
            trainer: Any = super().instantiate_trainer(**kwargs)
            if any(isinstance(callback, Evaluate) for callback in trainer.callbacks):
                raise ConfigError("trainer.callbacks: Evaluate is always there; its judge is the key `judge`")
            trainer.callbacks.insert(0, Evaluate(self.config_init.judge))
            trainer.callbacks.append(FollowLoad())
            if not in_terminal():  # a log has the lines of Progress
                trainer.callbacks = [each for each in trainer.callbacks if not isinstance(each, ProgressBar)]
            return trainer

    return CLI(
        HyperNoiseModule,
        PromptDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        save_config_callback=None,
        run=False,
        args=arguments,
        parser_kwargs={"prog": f"python -m hypernoise_pl {command}"},
    )


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
    """An error that is expected in its own words; of another its class too."""
    text = first_cause(error)
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
def quiet(verbose: bool) -> Iterator[None]:
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
                "lightning.pytorch.trainer.connectors.checkpoint_connector",
                "lightning.pytorch.trainer.connectors.signal_connector",
                "lightning.fabric.utilities.seed",
                "transformers",
            ):
                logging.getLogger(name).setLevel(logging.WARNING)
        yield
