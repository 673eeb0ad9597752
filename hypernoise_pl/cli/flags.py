"""The flags of each command: each flag, its help and its default stand once. Standard library only."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hypernoise_pl.cli.command_table import CONFIGURED, KEYS
from hypernoise_pl.config.files import benchmark_names, config_names, sweep_names
from hypernoise_pl.config.options import Options

FORMATS = ("own", "peft", "reference")


def add_flags(command: str, parser: argparse.ArgumentParser) -> None:
    """Add a command's own flags, the common ones, and those of commands with a configuration."""
    own = parser.add_argument_group("options")
    if command in ("validate", "test", "predict", "compare", "export"):
        _adapter_flag(own)
    if command in _OWN_FLAGS:
        _OWN_FLAGS[command](own)
    if command in ("fit", "compare", "cache-prompts"):
        _dry_run_flag(own)
    _common_flags(parser, command)
    if command in CONFIGURED:
        _configuration_flags(parser)


def _adapter_flag(group: Any) -> None:
    _flag(
        group,
        "--adapter",
        "adapter folder (default: that of the newest fit); generator, rank and kind are taken from it, rewards, "
        "prompts and judge from the run folder that it lies in",
        metavar="DIR",
        type=Path,
    )


def _dry_run_flag(group: Any) -> None:
    _flag(
        group,
        "--dry-run",
        "look at everything that would be read, say all that is missing, what would be done and how large it is, "
        "and stop; exit status 2 if something is missing",
        action="store_true",
    )


def _fit_flags(group: Any) -> None:
    _flag(
        group,
        "--ckpt_path",
        "last: continue the newest run, or that in --output, from its checkpoint of most steps; or a file of one. "
        "The run's own configuration is the base, --config and --KEY change it. Ctrl+C and SIGTERM save a "
        "checkpoint. Without this, an --output that holds a run is refused",
        metavar="last|FILE",
    )


def _predict_flags(group: Any) -> None:
    _flag(group, "--prompt", "prompt; may be given several times", metavar="TEXT", action="append")
    _flag(
        group,
        "--prompts",
        'file: .txt with a prompt a line; .csv, .tsv or .parquet with a column "prompt"; .jsonl, .json or .yaml',
        metavar="FILE",
        type=Path,
    )
    benchmark = _flag(
        group,
        "--benchmark",
        "instead of prompts: a benchmark of conf/benchmarks, whose images are written in the layout of its "
        "original tools, base and refined each in a folder; score reads them",
        metavar="NAME",
    )
    _complete(benchmark, benchmark_names)
    _flag(
        group,
        "--metadata",
        "the benchmark's file of prompts (default: the test prompts of the adapter's run)",
        metavar="FILE",
        type=Path,
    )
    _flag(
        group,
        "--seeds",
        "whole numbers with commas between, one image each (default: 0; with --benchmark as many as it asks for)",
        metavar="0,1,2",
    )
    _flag(group, "--steps", "network evaluations per image (default: the model's)", metavar="N", type=int)
    _flag(group, "--strength", "share of the residual to add", metavar="S", type=float)


def _compare_flags(group: Any) -> None:
    _flag(
        group,
        "--shard",
        "this process's part of N (0/2 and 1/2 in two terminals, with one --output); the last one that finishes "
        "writes the report. Under torchrun every process takes its own part and GPU",
        metavar="I/N",
    )
    _flag(group, "--budget-seconds", "seconds an image that every search gets, instead of its budgets", metavar="S")


def _export_flags(group: Any) -> None:
    _flag(group, "--run", "run folder of its fit (default: that the adapter lies in)", metavar="DIR", type=Path)
    _flag(
        group,
        "--format",
        "own: for attach, predict, test and compare; peft: an ordinary LoRA, a plain "
        "peft.PeftModel.from_pretrained makes the hypernetwork of it; reference: PEFT's files as the reference "
        "implementation of noise hypernetworks reads them",
        metavar="FORMAT",
        choices=FORMATS,
    )
    _flag(
        group,
        "--push",
        "repository on the hub to upload to; needs a token (hf auth login, or the variable HF_TOKEN)",
        metavar="OWNER/NAME",
    )
    _flag(group, "--private", "a repository that --push makes is private", action="store_true")


def _score_flags(group: Any) -> None:
    names = f"{', '.join(benchmark_names())}; or a YAML file"
    _complete(group.add_argument("benchmark", help=names, metavar="BENCHMARK"), benchmark_names)
    group.add_argument("images", nargs="?", type=Path, help="folder, or JSONL file, of images", metavar="IMAGES")
    _flag(
        group,
        "--metadata",
        "the benchmark's file of prompts and what is asked of their images (default: what stands beside the images)",
        metavar="FILE",
        type=Path,
    )
    _flag(
        group,
        "--against",
        "for fidelity: folder, or JSONL file, of the images that IMAGES are held against (default: the first "
        "method of a run folder that has several)",
        metavar="DIR",
        type=Path,
    )
    _flag(group, "--method", "score the images of one method alone, of a run folder that has several", metavar="NAME")
    _flag(group, "--batch-size", "images at once", metavar="N", type=int)
    _flag(
        group,
        "--shard",
        "this process's part of N (0/2 and 1/2 in two terminals, with one --output); the last one that finishes "
        "writes the summary",
        metavar="I/N",
    )
    _detection_flags(group)


def _detection_flags(group: Any) -> None:
    _flag(
        group,
        "--detections",
        'for geneval, instead of its own detector: a line an image, {"filename": "00000/samples/0000.png", '
        '"objects": [{"class": "bench", "score": 0.93, "box": [left, top, right, bottom], "color": "red"}]}, boxes '
        "in pixels; 00000 is the line of the prompt in the metadata, from 0 on. Every object with a score above "
        "0.3, in any order; a color that a prompt asks for and that is absent is named by CLIP if IMAGES are given",
        metavar="FILE",
        type=Path,
    )
    _flag(group, "--detector", "what found the objects of --detections, for table and summary", metavar="NAME")


def _configs_flags(group: Any) -> None:
    group.add_argument("action", nargs="?", choices=("list", "show", "copy"), default="list", help=argparse.SUPPRESS)
    group.add_argument("name", nargs="?", help="short name, such as shapes_long or strategy/ddp", metavar="NAME")
    group.add_argument("file", nargs="?", type=Path, help="copy to write (default: NAME.yaml here)", metavar="FILE")


def _sweep_flags(group: Any) -> None:
    name = group.add_argument("name", help="short name in conf/sweeps, or a YAML file", metavar="NAME|FILE")
    _complete(name, sweep_names)
    _flag(group, "--workers", "fits at a time, each on its own device", metavar="N", type=int)
    _flag(
        group,
        "--storage",
        "URL of a PostgreSQL or MySQL database, as SQLAlchemy writes it, for many workers; also the variable "
        "HYPERNOISE_STORAGE (default: a journal file in the run folder)",
        metavar="URL",
    )
    _flag(
        group, "--dry-run", "check everything, print the trials and the time to expect, and stop", action="store_true"
    )


_OWN_FLAGS: dict[str, Callable[[Any], None]] = {
    "fit": _fit_flags,
    "predict": _predict_flags,
    "compare": _compare_flags,
    "export": _export_flags,
    "score": _score_flags,
    "configs": _configs_flags,
    "sweep": _sweep_flags,
}


def _common_flags(parser: argparse.ArgumentParser, command: str) -> None:
    group = parser.add_argument_group("common")
    if command == "export":
        _flag(group, "--output", "folder (default: export-FORMAT in the run folder)", metavar="DIR", type=Path)
    elif command == "sweep":
        _flag(group, "--output", "run folder (default: runs/sweep/NAME)", metavar="DIR", type=Path)
    elif command != "configs":
        _flag(group, "--output", f"run folder (default: runs/{command}/<time>)", metavar="DIR", type=Path)
    _flag(
        group,
        "--json",
        "print the last table as JSON on standard output, and everything else on standard error",
        action="store_true",
    )
    _flag(group, "--verbose", "tracebacks instead of one-line errors", action="store_true")
    group.add_argument("-h", "--help", action="help", help="this page")


def _configuration_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("configuration", description=KEYS)
    config = _flag(
        group,
        "--config",
        "YAML file, or its short name in conf/ (shapes_long, debug/limit); may be given several times: later files are "
        "merged over earlier ones, all over conf/fit.yaml",
        metavar="FILE",
        action="append",
    )
    _complete(config, config_names)
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
    """Add a flag with the default that ``Options`` has; its help shows the default, unless there is none."""
    default = getattr(Options(), name.lstrip("-").replace("-", "_"))
    shown = f" (default: {default})" if isinstance(default, (str, float, int)) and not isinstance(default, bool) else ""
    added: argparse.Action = group.add_argument(name, help=(text + shown).replace("%", "%%"), default=default, **kwargs)
    return added


def _complete(argument: Any, names: Callable[[], Sequence[str]]) -> None:
    """Let a shell complete an argument's value by names."""
    argument.completer = lambda **_: names()
