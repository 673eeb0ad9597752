"""Stop signals and closed output pipes. Standard library only."""

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
    """A stop signal has arrived. Not an ``Exception``, since ``except Exception`` must not catch it.

    Args:
        signum: number of the signal.

    Attributes:
        code: exit status by the shell's convention: 143 for SIGTERM, 130 for SIGINT (Ctrl+C).
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.code = 128 + signum


class StopRequest:
    """The record of a stop signal.

    Attributes:
        signum: number of the first signal; None before any.
    """

    signum: int | None = None


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Raise ``Stopped`` when a stop signal arrives; a signal that is already ignored (``nohup``) stays ignored."""

    def stop(signum: int, frame: Any) -> None:
        raise Stopped(signum)

    with _handle_signals(stop):
        yield


@contextlib.contextmanager
def stoppable_at_step() -> Iterator[StopRequest]:
    """Record the first stop signal, for work that stops only between steps; raise ``Stopped`` at the second."""
    request = StopRequest()

    def note(signum: int, frame: Any) -> None:
        if request.signum is not None:
            raise Stopped(signum)
        request.signum = signum

    with _handle_signals(note):
        yield request


def run_script(main: Callable[[], Any]) -> int:
    """Run the main function of a resumable script; after a signal, print how to continue.

    Returns:
        Exit status: 0, or that of the signal.
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
    """Let work continue after the reader of its output closes the pipe (``| head``); later output is lost."""
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
    """A text stream that ignores a closed pipe.

    Args:
        stream: stream to write to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text, unless the pipe is closed."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush the stream, unless the pipe is closed."""
        self._try(self._stream.flush)

    def _try(self, work: Callable[[], Any]) -> None:
        try:
            work()
        except BrokenPipeError:
            # later writes, also those at the interpreter's exit, go to the null device
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)


@contextlib.contextmanager
def _handle_signals(handler: Callable[[int, Any], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    previous = {signum: signal.getsignal(signum) for signum in STOP_SIGNALS}
    taken = [signum for signum in STOP_SIGNALS if previous[signum] not in (signal.SIG_IGN, None)]
    try:
        for signum in taken:
            signal.signal(signum, handler)
        yield
    finally:
        for signum in taken:
            signal.signal(signum, previous[signum])
