"""Run folders and atomic file writing."""

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
    """The name of the folder under ``runs/`` in which a command makes its run folders.

    Args:
        command: name of the command.
        output: key ``output`` of the configuration; ``runs/debug`` or a run in it for a debug run.
    """
    return DEBUG_RUNS.name if command == "fit" and DEBUG_RUNS in (Path(output), Path(output).parent) else command


def new_run(command: str) -> Path:
    """Make and return ``runs/COMMAND/TIME``, or ``TIME-2`` and so on if it exists; every run gets its own folder."""
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
    """Remove an empty run folder, and parent folders that become empty."""
    with contextlib.suppress(OSError):
        os.removedirs(folder)


def newest_run(command: str, holding: str) -> Path:
    """The newest run folder of a command that holds a given file.

    Raises:
        FileNotFoundError: if no run folder holds it.
    """
    files = sorted(RUNS.joinpath(command).glob(f"*/{holding}"), key=lambda path: path.stat().st_mtime)
    if not files:
        raise FileNotFoundError(f"runs/{command}: no run with {holding} in it; run `python -m hypernoise_pl fit` first")
    return files[-1].parents[holding.count("/")]


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock a folder against other processes of this machine; make the folder if it does not exist.

    The lock is on the folder itself: no lock file remains, and a killed process leaves no lock.

    Raises:
        ValueError: if another process holds the lock.
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
                f"--output {folder}: another process is running in it; wait until it ends, or give another --output"
            ) from None
        except (ImportError, OSError):
            pass  # an operating system or a file system without locks
        yield
    finally:
        os.close(handle)
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()  # fails if something was written


@contextlib.contextmanager
def atomic_write(file: Path) -> Iterator[Path]:
    """Give a temporary path to write; it replaces ``file`` on success and is removed on failure.

    Raises:
        OSError: if the file cannot be written; the message names it, which a full disk's own error does not.
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
    """Write a text file atomically."""
    with atomic_write(file) as partial:
        partial.write_text(text)


def read_settings(file: Path) -> dict[str, Any]:
    """Read the JSON object of a run folder's settings.

    Raises:
        ValueError: if the file holds no JSON object.
    """
    try:
        settings = json.loads(file.read_text())
    except (OSError, ValueError):
        settings = None
    if not isinstance(settings, dict):
        raise ValueError(f"{file}: damaged; remove its folder, or give another --output")
    return settings


def write_tensors(file: Path, tensors: Mapping[str, Any], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file atomically, with the default file mode.

    safetensors' own ``save_file`` makes files that only their owner can read.
    """
    from safetensors.torch import save

    with atomic_write(file) as partial:
        partial.write_bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata))


def set_default_modes(folder: Path) -> None:
    """Give the files of a folder the default file mode; other libraries write stricter modes."""
    mask = os.umask(0)
    os.umask(mask)
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(0o666 & ~mask)
