"""The exit status and result of a command; every error becomes one line here. Standard library only."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any, Self, TextIO

from hypernoise_pl.cli.errors import one_line
from hypernoise_pl.system.signals import Stopped

INVALID, FAILED = 2, 1  # exit statuses: the request cannot be met; something went wrong later


class Outcome:
    """The exit status and result of one command.

    A context manager around the command's work: an error, or a signal, becomes one line on standard error and an exit
    status. The notes of an error (``add_note``) stand below it, a line each.

    Args:
        command: name of the command.
        verbose: tracebacks instead of one-line errors.
        first: whether this is the first process of its run; only that one prints notes and signals.

    Attributes:
        status: exit status; 0 on success, 2 for a request that cannot be met, 1 for an error after the command had
            begun, 143 or 130 after SIGTERM or SIGINT.
        result: result of the command, for ``--json``; None without one.
        begun: whether the command's work has begun; set by the command.
    """

    def __init__(self, command: str, verbose: bool = False, first: bool = True) -> None:
        self.command, self.verbose, self.first = command, verbose, first
        self.status, self.begun = 0, False
        self.result: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, cls: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, Stopped):
            self._stopped(error)
        elif isinstance(error, Exception):
            self._failed(error)
        else:
            return False
        return True

    def _stopped(self, error: Stopped) -> None:
        if not self.first:
            return
        self.status = error.code
        next_step, *notes = getattr(error, "__notes__", ()) or ("the same command begins anew",)
        self._print(f"{error}; {next_step}", *notes)

    def _failed(self, error: Exception) -> None:
        invalid = isinstance(error, (ValueError, FileNotFoundError, NotADirectoryError))
        self.status = INVALID if invalid or not self.begun else FAILED
        if self.verbose:
            traceback.print_exception(error)
        else:
            self._print(f"error: {one_line(error)}", *(getattr(error, "__notes__", ()) if self.first else ()))

    def _print(self, *lines: str) -> None:
        for line in lines:
            print(f"hypernoise_pl {self.command}: {line}", file=sys.stderr)


@contextlib.contextmanager
def output_for_json(json_only: bool) -> Iterator[TextIO]:
    """Print everything on standard error, if standard output is to have JSON alone; gives standard output."""
    output = sys.stdout
    with contextlib.redirect_stdout(sys.stderr) if json_only else contextlib.nullcontext():
        yield output


def print_json(result: Any, output: TextIO) -> None:
    """Print a command's result, if there is one; on the first process of the machine alone."""
    if result is not None and int(os.environ.get("LOCAL_RANK", 0)) == 0:
        print(json.dumps(result, indent=1, ensure_ascii=False), file=output)
