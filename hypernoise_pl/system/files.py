"""Run folders: a new one for each run, which is the newest, and files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

RUNS = Path("runs")
DEBUG_RUNS = RUNS / "debug"  # the key ``output`` of conf/debug's files; no command takes an adapter from it by default


def kind_of_run(command: str, output: str) -> str:
    """The folder under ``runs/`` in which a command makes its run folders.

    Args:
        command: of the command line.
        output: the configuration's; ``runs/debug``, or a run in it, for a trial.
    """
    return DEBUG_RUNS.name if command == "fit" and DEBUG_RUNS in (Path(output), Path(output).parent) else command


def new_run(command: str) -> Path:
    """Make ``runs/COMMAND/TIME``; where that is taken, ``TIME-2`` and so on: no two runs are given the same one."""
    now = time.strftime("%Y%m%d-%H%M%S")
    for number in itertools.count(1):
        folder = RUNS / command / (now if number == 1 else f"{now}-{number}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise AssertionError


def remove_if_empty(folder: Path) -> None:
    """Remove a run folder in which nothing was written, and the folders above it that this leaves empty."""
    with contextlib.suppress(OSError):
        os.removedirs(folder)


def newest_run(command: str, holding: str) -> Path:
    """The newest run folder under ``runs/`` that holds a file.

    Raises:
        FileNotFoundError: if there is none.
    """
    found = sorted(RUNS.joinpath(command).glob(f"*/{holding}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise FileNotFoundError(f"runs/{command}: no run with {holding} in it; run `python -m hypernoise_pl fit` first")
    return found[-1].parents[holding.count("/")]


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep other processes of this machine from running in a folder meanwhile; it is made if need be.

    The folder itself is locked, so that no file is left and a process that dies leaves no lock.

    Raises:
        ValueError: if another process runs in it.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            import fcntl  # not on Windows

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"--output {folder}: another process is running in it; wait for its end, or give another --output"
            ) from None
        except (ImportError, OSError):
            pass  # a system, or a file system, without locks
        yield
    finally:
        os.close(handle)
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()  # where nothing was written


@contextlib.contextmanager
def atomic_write(file: Path) -> Iterator[Path]:
    """A file to write beside ``file``; it takes its place once it is complete, or is removed.

    Raises:
        OSError: naming the file, if it cannot be written: a full disk says only that, not where.
    """
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")  # two processes may write the same file
    try:
        yield partial
        partial.replace(file)
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(file)) from error
    finally:
        partial.unlink(missing_ok=True)


def write_text(file: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with atomic_write(file) as partial:
        partial.write_text(text)


def read_settings(file: Path) -> dict[str, Any]:
    """The JSON object that a run folder keeps of its settings.

    Raises:
        ValueError: if the file is no JSON object.
    """
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{file}: damaged; remove its folder, or give another --output")
    return found


def write_tensors(file: Path, tensors: Mapping[str, Any], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file, whole or not at all, with the mode that every new file gets.

    safetensors' own ``save_file`` makes files that only their owner may read.
    """
    from safetensors.torch import save

    with atomic_write(file) as partial:
        partial.write_bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata))


def set_default_modes(folder: Path) -> None:
    """Let the files of a folder that another library wrote have the mode that every new file gets."""
    mask = os.umask(0)
    os.umask(mask)
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(0o666 & ~mask)
