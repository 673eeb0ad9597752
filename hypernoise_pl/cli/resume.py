"""Commands that a user can continue: the run folder of a checkpoint, and notes on how to continue a stopped run."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from hypernoise_pl.cli.outcome import Outcome
from hypernoise_pl.report.live import PAGE
from hypernoise_pl.report.page import REPORT
from hypernoise_pl.runs.run_folder import RunFolder
from hypernoise_pl.system.signals import Stopped
from hypernoise_pl.training.checkpoint_io import newest_checkpoint, newest_resumable_run

CONFIG = "config.yaml"
ANEW = "the same command begins anew"


def run_folder_of(checkpoint: str, output: Path | None, kind: str = "fit") -> Path:
    """The run folder whose configuration a continued run starts from.

    Args:
        checkpoint: ``last`` or a checkpoint file.
        output: run folder that the user names; None without one.
        kind: folder under ``runs/`` in which the newest run is looked for.

    Raises:
        FileNotFoundError: for ``last``, if no run has a checkpoint.
    """
    if checkpoint == "last":
        return newest_resumable_run(kind) if output is None else output
    above = Path(checkpoint).parents[:2]  # a file lies in checkpoints/ of its run folder, or in the folder itself
    return next((folder for folder in above if (folder / CONFIG).is_file()), above[0])


@contextlib.contextmanager
def resume_notes(
    command: str, argv: Sequence[str], outcome: Outcome, folder: RunFolder | None, adapter: Path | None
) -> Iterator[None]:
    """Add notes to an error or a signal: the command that continues the run, and the newest files in its folder.

    Args:
        command: name of the command.
        argv: its arguments.
        outcome: outcome of the command; errors before its work has begun get no notes.
        folder: its run folder; None for a command without one.
        adapter: adapter folder that the command works with.
    """
    start = time.time()
    try:
        yield
    except Stopped as stopped:
        stopped.add_note(_continuation(command, argv, folder, adapter))
        _add_outputs(stopped, command, folder, start)
        raise
    except Exception as error:
        if outcome.begun and folder is not None and not folder.trial:
            if command == "fit" and newest_checkpoint(folder.path) is not None:
                error.add_note(_continuation(command, argv, folder, adapter))
            _add_outputs(error, command, folder, start)
        raise


def latest_outputs(folder: Path, since: float) -> dict[str, Path]:
    """The newest picture, page and adapter of a run folder.

    Args:
        folder: run folder.
        since: seconds since 1970; if no file is newer, the files are another run's and none is given.
    """
    pictures = sorted(folder.glob("images/*.png"), key=_time)
    adapters = sorted(folder.glob("adapter*/adapter_model.safetensors"), key=_time)
    pages = [folder / name for name in (PAGE, REPORT) if (folder / name).is_file()]
    if not any(_time(file) >= since for file in (*pictures, *pages, *adapters)):
        return {}
    outputs = {"newest picture": pictures, "page": pages, "newest adapter": [file.parent for file in adapters]}
    return {name: files[-1] for name, files in outputs.items() if files}


def _continuation(command: str, argv: Sequence[str], folder: RunFolder | None, adapter: Path | None) -> str:
    """The command that continues a run, or a text that there is nothing to continue from."""
    if command == "cache-prompts":
        return f"to continue: {_command_line(command, argv)}"
    if command in ("validate", "test") or folder is None or folder.trial:
        return ANEW
    output = f"--output={folder.path}"
    if command == "fit":
        newest = newest_checkpoint(folder.path)
        if newest is None:
            return f"no checkpoint yet; {ANEW}"
        step = newest[1]["global_step"]
        return f"step {step} is saved; to continue: {_command_line('fit', ['--ckpt_path=last', output])}"
    named = [output] if adapter is None else [output, f"--adapter={adapter}"]
    return f"to continue: {_command_line(command, [*_without(argv, '--output', '--adapter'), *named])}"


def _add_outputs(error: BaseException, command: str, folder: RunFolder | None, start: float) -> None:
    if command in ("fit", "compare") and folder is not None and not folder.trial:
        for name, file in latest_outputs(folder.path, start).items():
            error.add_note(f"{name}: {file}")


def _command_line(command: str, argv: Sequence[str]) -> str:
    return shlex.join(["python", "-m", "hypernoise_pl", command, *argv])


def _without(argv: Sequence[str], *flags: str) -> list[str]:
    """Arguments without some flags and their values."""
    kept, rest = [], iter(argv)
    for argument in rest:
        if argument in flags:
            next(rest, None)
        elif not argument.startswith(tuple(f"{flag}=" for flag in flags)):
            kept.append(argument)
    return kept


def _time(file: Path) -> float:
    return file.stat().st_mtime
