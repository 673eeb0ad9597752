"""The commands and their flags: each flag, its help and its default stand once. Standard library only.

``--help`` answers at once: nothing that is imported here imports torch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any, NoReturn

from hypernoise_pl.config.files import benchmark_names, config_names, sweep_names
from hypernoise_pl.config.options import Options

PROGRAM = "python -m hypernoise_pl"
FORMATS = ("own", "peft", "reference")
STATUS = """exit status:
  0    the command did what it says
  1    something went wrong after it had begun: one line on standard error
  2    what is asked for cannot be done: a flag, a file, a configuration's key
  130  stopped by Ctrl+C      143  stopped by SIGTERM; both say how to continue
"""
KEYS = """Files and flags are merged by the same rules, later over earlier: mappings
are merged, lists are replaced, null takes a reward out, and where a class
takes another's place the arguments of the old one stay that the new one
takes by the same name and type.

  --KEY=VALUE         any value of the configuration, for example
    --model.reward_weights.clip=0.5    one weight
    --model.lora.rank=64               one argument
    --model=FineTuneModule             another class: LoRA on the generator
    --model.optimizer=SGD --model.optimizer.momentum=0.9
                                       another class and what it takes
    --judge=null                       no judge: rewards alone are measured
    --trainer.callbacks.ImageGrid.columns=4
                                       one of a list, by class or by place (0,
                                       1, ...); +=NAME appends
    --trainer.max_steps=200            the Lightning Trainer's
    --data.batch_size='${trainer.log_every_n_steps}'   another value
"""


@dataclass(frozen=True)
class Command:
    """A command as its help shows it.

    Args:
        does: one line for the list of commands.
        description: paragraph that says what it does and writes.
        usage: required arguments, as the usage line shows them.
        examples: command lines that work, without the program name.
    """

    does: str
    description: str = ""
    usage: str = "[options]"
    examples: tuple[str, ...] = ()


COMMANDS = {
    "fit": Command(
        "train a noise hypernetwork, then test it against the base generator and a search",
        """Train a hypernetwork; at the end test base, hypernetwork and a reference search
on the same prompts and noises, print the table, and write summary.json, the
adapter, a picture and a TensorBoard log into the run folder. While it runs,
live.html in that folder shows the run in a browser.""",
        examples=(
            "fit",
            "fit --config shapes_long",
            "fit --config shapes_long --dry-run",
            "fit --model.objective.reward_scale=20 --seed_everything=1",
            "fit --ckpt_path last --output runs/fit/20261123-101500",
        ),
    ),
    "validate": Command("measure an adapter on the validation prompts", examples=("validate",)),
    "test": Command(
        "measure an adapter on the test prompts", examples=("test", "test --adapter runs/fit/TIME/adapter --json")
    ),
    "predict": Command(
        "write images for prompts, base and refined",
        """Write each prompt's images, base and refined from the same noise, a grid of them,
and predictions.jsonl. Stopped at any moment, the same command again goes on where
it was.""",
        "(--prompt TEXT ... | --prompts FILE) [options]",
        ('predict --prompt "a red circle left of a blue star" --seeds 0,1,2,3',),
    ),
    "compare": Command(
        "search methods and what was trained side by side, at what cost: one table, one report",
        """Run test-time searches, the base generator and what was trained on the same
prompts and noises; print the table, and write report.html, report.md,
summary.json, results.parquet and every image into the run folder; report.html
grows from the first unit of work on. What runs is the list compare.methods of
conf/compare.yaml. Stopped at any moment, the same
command again goes on where it was. A run folder holds the results of one
configuration: with other settings the command needs another --output, or none.""",
        examples=(
            "compare",
            "compare --compare.seeds=1 --compare.prompts=24",
            "compare --config my_methods.yaml --adapter runs/fit/TIME/adapter --output runs/mine",
        ),
    ),
    "sweep": Command(
        "many fits: what is varied, on Optuna, pruned, by several workers, with a report",
        """Run the fits that a file defines (conf/sweeps, or your own): base configuration,
what is varied, objective, budget. Every trial is a fit of its own in its own
folder. Stopped or killed at any moment, the same command again goes on, each
trial from its own checkpoint; in another terminal or on another machine that sees
the same folder it is one more worker. report.html and summary.json are rewritten
after each trial. --KEY=VALUE sets a value of the configuration for every trial
alike, as fit takes it.""",
        "NAME|FILE [options]",
        (
            "sweep shapes_recipe --dry-run",
            "sweep shapes_recipe --workers 2",
            "sweep my_sweep.yaml --storage postgresql://me@host/sweeps --output /shared/mine",
        ),
    ),
    "cache-prompts": Command(
        "encode a run's prompts beforehand, so that text encoders stay off the device while it trains",
        """Encode the training, validation and test prompts of a run into DIR, in files that
are written whole or not at all. Every run with the same --model.prompt_cache then
reads them there. Stopped at any moment, the same command again goes on; several
processes may fill one folder at once. Rewards are not loaded.""",
        "--model.prompt_cache=DIR [options]",
        (
            "cache-prompts --config sana_sprint --model.prompt_cache=cache",
            "fit --config sana_sprint --model.prompt_cache=cache",
        ),
    ),
    "score": Command(
        "a benchmark's figures of images that any tool made",
        """Score images by a benchmark (conf/benchmarks, or a file of your own). IMAGES is a
folder in the layout of the benchmark's original tools, a run folder of predict or
compare, or a JSONL file with prompt and image_path. Writes the benchmark's own
result files, summary.json and score.html, the images with verdict and reason, the
worst first, and prints each tag's score with a 95 % interval over prompts. What
cannot be scored is named and left out of the figures. Stopped at any moment, the
same command again goes on where it was. --KEY=VALUE sets a value of the
benchmark's configuration.""",
        "BENCHMARK IMAGES [options]",
        (
            "score shapes runs/predict/TIME",
            "score geneval images --metadata evaluation_metadata.jsonl",
            "score geneval --detections detections.jsonl --metadata evaluation_metadata.jsonl",
        ),
    ),
    "export": Command(
        "an adapter with a model card, for others: a folder, and the hub",
        """Write an adapter folder with a model card (generator, data, rewards, weights,
penalty, the measured table, samples) that is ready for the hub, and upload it if
that is asked for.""",
        examples=(
            "export",
            "export --adapter runs/fit/TIME/adapter --format peft --push me/my-hypernetwork",
        ),
    ),
    "configs": Command(
        "the configurations that come with the package: list, show, copy",
        """List the configurations that --config takes by a short name, print one, or copy
one to begin one's own with.""",
        "[list | show NAME | copy NAME [FILE]]",
        ("configs", "configs show shapes_long", "configs copy shapes_long mine.yaml"),
    ),
}
CONFIGURED = [name for name in COMMANDS if name not in ("export", "configs", "score", "sweep")]


class Parser(argparse.ArgumentParser):
    """One command's parser: an error is one line, and exit status 2."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(add_help=False, allow_abbrev=False, formatter_class=_Formatter, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, without the usage."""
        print(f"{self.prog.rpartition(' -m ')[2]}: error: {message}; {self.prog} --help", file=sys.stderr)
        sys.exit(2)


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=22)


def parse(command: str, arguments: Sequence[str]) -> tuple[Options, list[str]]:
    """The flags of a command, and what is left: keys of the configuration.

    Raises:
        SystemExit: with status 2, after a line that says what is wrong.
    """
    parser = every_command()[1][command]
    # flags may stand before IMAGES, which the plain call takes for absent then
    read = parser.parse_known_intermixed_args if command == "score" else parser.parse_known_args
    options, rest = read(list(arguments), Options())
    if rest and command not in (*CONFIGURED, "sweep", "score"):
        parser.error(f"{rest[0]}: not understood{closest(rest[0], own_flags(command))}")
    return options, rest


def every_command() -> tuple[Parser, dict[str, Parser]]:
    """The whole parser, and that of each command."""
    top = Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} COMMAND [options]",
        description=fill(
            "Noise hypernetworks: what searching a one-step generator's noise finds, in one more network evaluation.",
            80,
        ),
        epilog=f"{STATUS}\nstart with:\n  {PROGRAM} fit    (no GPU, no downloads, minutes on a CPU)\n"
        f"help:\n  {PROGRAM} COMMAND --help",
    )
    commands = top.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)
    for name, command in COMMANDS.items():
        lines = "".join(f"  {PROGRAM} {example}\n" for example in command.examples)
        _fill(
            name,
            commands.add_parser(
                name,
                prog=f"{PROGRAM} {name}",
                usage=f"{PROGRAM} {name} {command.usage}",
                help=command.does,
                description=fill(" ".join(command.description.split()) or f"{command.does.capitalize()}.", 80),
                epilog=f"examples:\n{lines}" if lines else None,
            ),
        )
    common = top.add_argument_group("options")
    common.add_argument("--version", action="store_true", help="print the version and stop")
    common.add_argument("-h", "--help", action="help", help="this page")
    return top, commands.choices  # type: ignore[return-value]


def own_flags(command: str) -> list[str]:
    """The flags that a command has, beside keys of the configuration."""
    actions = every_command()[1][command]._actions
    return [flag for action in actions for flag in action.option_strings if flag.startswith("--")]


def closest(flag: str, flags: Sequence[str]) -> str:
    """`` (did you mean '--x'?)`` for the flag most like this one, or nothing."""
    from difflib import get_close_matches

    found = get_close_matches(flag.partition("=")[0].replace("_", "-"), [each.replace("_", "-") for each in flags], 1)
    return f" (did you mean {next(each for each in flags if each.replace('_', '-') == found[0])!r}?)" if found else ""


def _fill(command: str, parser: Parser) -> None:
    own = parser.add_argument_group("options")
    if command in ("validate", "test", "predict", "compare", "export"):
        _flag(
            own,
            "--adapter",
            "adapter folder (default: that of the newest fit); generator, rank and kind are taken from it, rewards, "
            "prompts and judge from the run folder that it lies in",
            metavar="DIR",
            type=Path,
        )
    if command == "fit":
        _flag(
            own,
            "--ckpt_path",
            "last: continue the newest run, or that in --output, from its checkpoint of most steps; or a file of one. "
            "The run's own configuration is the base, --config and --KEY change it. Ctrl+C and SIGTERM save a "
            "checkpoint. Without this, an --output that holds a run is refused",
            metavar="last|FILE",
        )
    if command == "predict":
        _flag(own, "--prompt", "prompt; may be given several times", metavar="TEXT", action="append")
        _flag(
            own,
            "--prompts",
            'file: .txt with a prompt a line; .csv, .tsv or .parquet with a column "prompt"; .jsonl, .json or .yaml',
            metavar="FILE",
            type=Path,
        )
        name = _flag(
            own,
            "--benchmark",
            "instead of prompts: a benchmark of conf/benchmarks, whose images are written in the layout of its "
            "original tools, base and refined each in a folder; score reads them",
            metavar="NAME",
        )
        name.completer = lambda **_: benchmark_names()  # type: ignore[attr-defined]
        _flag(
            own,
            "--metadata",
            "the benchmark's file of prompts (default: the test prompts of the adapter's run)",
            metavar="FILE",
            type=Path,
        )
        _flag(
            own,
            "--seeds",
            "whole numbers with commas between, one image each (default: 0; with --benchmark as many as it asks for)",
            metavar="0,1,2",
        )
        _flag(own, "--steps", "network evaluations per image (default: the model's)", metavar="N", type=int)
        _flag(own, "--strength", "share of the residual to add", metavar="S", type=float)
    if command == "compare":
        _flag(
            own,
            "--shard",
            "this process's part of N (0/2 and 1/2 in two terminals, with one --output); the last one that finishes "
            "writes the report. Under torchrun every process takes its own part and GPU",
            metavar="I/N",
        )
        _flag(own, "--budget-seconds", "seconds an image that every search gets, instead of its budgets", metavar="S")
    if command == "export":
        _flag(own, "--run", "run folder of its fit (default: that the adapter lies in)", metavar="DIR", type=Path)
        _flag(
            own,
            "--format",
            "own: for attach, predict, test and compare; peft: an ordinary LoRA, a plain "
            "peft.PeftModel.from_pretrained makes the hypernetwork of it; reference: PEFT's files as the reference "
            "implementation of noise hypernetworks reads them",
            metavar="FORMAT",
            choices=FORMATS,
        )
        _flag(
            own,
            "--push",
            "repository on the hub to upload to; needs a token (hf auth login, or the variable HF_TOKEN)",
            metavar="OWNER/NAME",
        )
        _flag(own, "--private", "a repository that --push makes is private", action="store_true")
    if command == "score":
        name = own.add_argument(
            "benchmark", help=f"{', '.join(benchmark_names())}; or a YAML file", metavar="BENCHMARK"
        )
        name.completer = lambda **_: benchmark_names()  # type: ignore[attr-defined]
        own.add_argument("images", nargs="?", type=Path, help="folder, or JSONL file, of images", metavar="IMAGES")
        _flag(
            own,
            "--metadata",
            "the benchmark's file of prompts and what is asked of their images (default: what stands beside the "
            "images)",
            metavar="FILE",
            type=Path,
        )
        _flag(
            own,
            "--against",
            "for fidelity: folder, or JSONL file, of the images that IMAGES are held against (default: the first "
            "method of a run folder that has several)",
            metavar="DIR",
            type=Path,
        )
        _flag(own, "--method", "score the images of one method alone, of a run folder that has several", metavar="NAME")
        _flag(own, "--batch-size", "images at once", metavar="N", type=int)
        _flag(
            own,
            "--shard",
            "this process's part of N (0/2 and 1/2 in two terminals, with one --output); the last one that finishes "
            "writes the summary",
            metavar="I/N",
        )
        _flag(
            own,
            "--detections",
            'for geneval, instead of its own detector: a line an image, {"filename": "00000/samples/0000.png", '
            '"objects": [{"class": "bench", "score": 0.93, "box": [left, top, right, bottom], "color": "red"}]}, boxes '
            "in pixels; 00000 is the line of the prompt in the metadata, from 0 on. Every object with a score above "
            "0.3, in any order; a color that a prompt asks for and that is absent is named by CLIP if IMAGES are given",
            metavar="FILE",
            type=Path,
        )
        _flag(own, "--detector", "what found the objects of --detections, for table and summary", metavar="NAME")
    if command == "configs":
        own.add_argument("action", nargs="?", choices=("list", "show", "copy"), default="list", help=argparse.SUPPRESS)
        own.add_argument("name", nargs="?", help="short name, such as shapes_long or strategy/ddp", metavar="NAME")
        own.add_argument("file", nargs="?", type=Path, help="copy to write (default: NAME.yaml here)", metavar="FILE")
    if command == "sweep":
        name = own.add_argument("name", help="short name in conf/sweeps, or a YAML file", metavar="NAME|FILE")
        name.completer = lambda **_: sweep_names()  # type: ignore[attr-defined]
        _flag(own, "--workers", "fits at a time, each on its own device", metavar="N", type=int)
        _flag(
            own,
            "--storage",
            "URL of a PostgreSQL or MySQL database, as SQLAlchemy writes it, for many workers; also the variable "
            "HYPERNOISE_STORAGE (default: a journal file in the run folder)",
            metavar="URL",
        )
        _flag(
            own, "--dry-run", "check everything, print the trials and the time to expect, and stop", action="store_true"
        )
    if command in ("fit", "compare", "cache-prompts"):
        _flag(
            own,
            "--dry-run",
            "look at everything that would be read, say all that is missing, what would be done and how large it is, "
            "and stop; exit status 2 if something is missing",
            action="store_true",
        )
    _common(parser, command)
    if command in CONFIGURED:
        _configuration(parser)


def _common(parser: Parser, command: str) -> None:
    common = parser.add_argument_group("common")
    if command == "export":
        _flag(common, "--output", "folder (default: export-FORMAT in the run folder)", metavar="DIR", type=Path)
    elif command == "sweep":
        _flag(common, "--output", "run folder (default: runs/sweep/NAME)", metavar="DIR", type=Path)
    elif command != "configs":
        _flag(common, "--output", f"run folder (default: runs/{command}/<time>)", metavar="DIR", type=Path)
    _flag(
        common,
        "--json",
        "print the last table as JSON on standard output, and everything else on standard error",
        action="store_true",
    )
    _flag(common, "--verbose", "tracebacks instead of one-line errors", action="store_true")
    common.add_argument("-h", "--help", action="help", help="this page")


def _configuration(parser: Parser) -> None:
    group = parser.add_argument_group("configuration", description=KEYS)
    config = _flag(
        group,
        "--config",
        "YAML file, or its short name in conf/ (shapes_long, debug/limit); may be given several times: later files are "
        "merged over earlier ones, all over conf/fit.yaml",
        metavar="FILE",
        action="append",
    )
    config.completer = lambda **_: config_names()  # type: ignore[attr-defined]
    _flag(
        group,
        "--print_config",
        "print the whole configuration and stop; it is a file for --config, and so is a run's config.yaml",
        action="store_true",
    )
    _flag(
        group,
        "--help-class",
        "print what a class is and its options: a generator, reward, search, data set (SDTurbo, HPSv2, ReNO)",
        metavar="NAME",
    )
    _flag(group, "--help-all", "every option of every class, generated (takes some seconds)", action="store_true")


def _flag(group: Any, name: str, text: str, **kwargs: Any) -> argparse.Action:
    """A flag whose default is that of ``Options``; its help says which, unless there is none."""
    default = getattr(Options(), name.lstrip("-").replace("-", "_"))
    shown = f" (default: {default})" if isinstance(default, (str, float, int)) and not isinstance(default, bool) else ""
    added: argparse.Action = group.add_argument(name, help=(text + shown).replace("%", "%%"), default=default, **kwargs)
    return added
