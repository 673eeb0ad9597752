"""Signals that ask a command to stop, and output that nobody reads any more. Standard library only."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, TextIO

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(BaseException):
    """A signal has asked to stop; no ``Exception``, so that nothing takes it for an error of its own.

    Args:
        signum: the signal.

    Attributes:
        code: exit status by which a shell knows it: 143 for SIGTERM, 130 for SIGINT (Ctrl+C).
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.code = 128 + signum


class StopRequest:
    """Whether a signal has asked to stop.

    Attributes:
        signum: the first that did; None if none did.
    """

    signum: int | None = None


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Raise ``Stopped`` where a signal arrives; a signal that is ignored from outside (``nohup``) stays so."""

    def stop(signum: int, frame: Any) -> None:
        raise Stopped(signum)

    with _handle_signals(stop):
        yield


@contextlib.contextmanager
def stoppable_at_step() -> Iterator[StopRequest]:
    """Take note of the first signal, for work that must come to a step's end; raise ``Stopped`` at the second."""
    asked = StopRequest()

    def note(signum: int, frame: Any) -> None:
        if asked.signum is not None:
            raise Stopped(signum)
        asked.signum = signum

    with _handle_signals(note):
        yield asked


def run_script(main: Callable[[], Any]) -> int:
    """Run a resumable script's main function.

    Returns:
        Exit status: that of a signal, with a line that says how to continue, or 0.
    """
    try:
        with stoppable(), allow_closed_output():
            main()
        return 0
    except Stopped as stopped:
        print(f"{stopped}; the same command continues", file=sys.stderr)
        return stopped.code


@contextlib.contextmanager
def allow_closed_output() -> Iterator[None]:
    """Let work go on when whoever reads its output has gone (``| head``): what it says then is lost, no more."""
    with (
        contextlib.redirect_stdout(_ClosableStream(sys.stdout)),  # type: ignore[type-var]
        contextlib.redirect_stderr(_ClosableStream(sys.stderr)),  # type: ignore[type-var]
    ):
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()


class _ClosableStream:
    """A text stream whose reader may go.

    Args:
        stream: what is written to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or find that nobody reads."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush, or find that nobody reads."""
        self._try(self._stream.flush)

    def _try(self, work: Callable[[], Any]) -> None:
        try:
            work()
        except BrokenPipeError:
            # whatever writes there later, at the interpreter's end too, writes to nowhere
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextlib.contextmanager
def _handle_signals(handler: Callable[[int, Any], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only it may have handlers
        yield
        return
    before = {signum: signal.getsignal(signum) for signum in STOP_SIGNALS}
    taken = [signum for signum in STOP_SIGNALS if before[signum] not in (signal.SIG_IGN, None)]
    try:
        for signum in taken:
            signal.signal(signum, handler)
        yield
    finally:
        for signum in taken:
            signal.signal(signum, before[signum])
