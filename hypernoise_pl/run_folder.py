"""Run folders: which is the newest, and files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def newest_run(command: str, holding: str) -> Path:
    """The newest run folder under ``runs/`` that holds a file.

    Raises:
        FileNotFoundError: if there is none.
    """
    found = sorted(Path("runs", command).glob(f"*/{holding}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise FileNotFoundError(f"runs/{command}: no run with {holding} in it; run `python -m hypernoise_pl fit` first")
    return found[-1].parents[holding.count("/")]


@contextlib.contextmanager
def whole(file: Path) -> Iterator[Path]:
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


def write(file: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with whole(file) as partial:
        partial.write_text(text)
