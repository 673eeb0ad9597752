"""The live view at the bottom of a terminal; other output is printed above it.

Between two frames the cursor stays in an empty line above the view. Text that bypasses this module (from another
process, a C library, the ^C of a key) therefore appears above the view, a new terminal width leaves no remains, and a
killed process leaves a usable terminal, because the cursor is never hidden.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from hypernoise_pl.progress.drawing import Row, draw_rows
from hypernoise_pl.progress.stream import StreamAboveView

FRAME_SECONDS = 0.5  # between two frames of the view
_RANKS = ("RANK", "NODE_RANK", "LOCAL_RANK", "SLURM_PROCID")  # variables of launchers; all are 0 in the first process


def in_terminal() -> bool:
    """Whether standard output and standard error are terminals with cursor movement."""
    able = os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")
    return able and sys.stdout.isatty() and sys.stderr.isatty()


def first_process() -> bool:
    """Whether this is the first process of a run; only this process shows progress."""
    return all(os.environ.get(name, "0") == "0" for name in _RANKS)


class View:
    """Rows of running work, drawn while there are any.

    While the view has rows, standard output, standard error and the log handlers that use them print above the view.
    """

    def __init__(self) -> None:
        self._rows: list[Callable[[], Row]] = []
        self.lock = threading.RLock()
        self._restore = contextlib.ExitStack()
        self._streams: list[StreamAboveView] = []
        self._screen: Any = None
        self._frame = 0
        self.drawing = False

    def add(self, row: Callable[[], Row]) -> None:
        """Add a row below the others; the function is called at every frame."""
        with self.lock:
            self._rows.append(row)
            if self._screen is None:
                self._begin()
            self._draw()

    def remove(self, row: Callable[[], Row]) -> None:
        """Remove a row."""
        with self.lock:
            self._rows.remove(row)
            if self._rows:
                self._draw()
                return
            restore = self._end()
        restore.close()  # outside the lock, for which the timer's thread may wait

    @property
    def open(self) -> bool:
        """Whether this process draws the view."""
        return self._screen is not None and self._process == os.getpid()

    def _begin(self) -> None:
        self._screen, self._process, self._frame = sys.stderr, os.getpid(), 0
        self._streams = [StreamAboveView(self, sys.stdout), StreamAboveView(self, sys.stderr)]
        self._restore = contextlib.ExitStack()
        for name, stream in zip(("stdout", "stderr"), self._streams):
            _swap(sys, name, stream, self._restore)
        for handler in _handlers():
            for stream in self._streams:
                if handler.stream is stream.target:
                    _swap(handler, "stream", stream, self._restore)
                    break
        self._restore.enter_context(repeating(FRAME_SECONDS, self._tick))

    def _end(self) -> contextlib.ExitStack:
        """Clear the view; gives the stack that restores the streams, to close without the lock."""
        self._write("\r\x1b[J")
        self._screen = None
        for stream in self._streams:
            stream.release()
        return self._restore

    def print_above(self, stream: StreamAboveView, text: str) -> None:
        """Print complete lines above the view."""
        with self.lock:
            for other in self._streams:
                if other is not stream:
                    other.print_complete()  # earlier text of the other stream
            self._write("\r\x1b[J")
            stream.target.write(text)
            stream.target.flush()
            self._draw()

    def _tick(self) -> None:
        with self.lock:
            if self._screen is None:
                return
            self._frame += 1
            for stream in self._streams:
                stream.print_complete()
            self._draw()

    def _draw(self) -> None:
        if self.drawing or self._screen is None:
            return
        self.drawing = True
        try:
            columns, height = _size(self._screen)
            unfinished = [line for stream in self._streams for line in stream.unfinished()]
            rows = [row() for row in self._rows]
            encoding = getattr(self._screen, "encoding", None) or "utf-8"
            lines = draw_rows(unfinished, rows, columns - 1, self._frame, encoding)[: height - 2]
            self._write("\r\x1b[J" + "".join(f"\n\r{line}" for line in lines) + f"\x1b[{len(lines)}A\r")
        finally:
            self.drawing = False

    def _write(self, codes: str) -> None:
        with contextlib.suppress(OSError):  # the terminal is closed; the work continues
            self._screen.write(codes)
            self._screen.flush()


def _swap(holder: Any, name: str, value: Any, restore: contextlib.ExitStack) -> None:
    """Set an attribute until ``restore`` closes; a value that other code sets meanwhile stays."""
    before = getattr(holder, name)
    setattr(holder, name, value)

    def set_back() -> None:
        if getattr(holder, name) is value:
            setattr(holder, name, before)

    restore.callback(set_back)


def _handlers() -> Iterator[Any]:
    """The handlers of all loggers that write to a stream and not to a file."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    for handler in {handler for logger in loggers for handler in getattr(logger, "handlers", ())}:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            yield handler


def _size(stream: Any) -> tuple[int, int]:
    """Columns and lines of a terminal."""
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):  # the terminal does not report its size
        size = os.terminal_size((80, 24))
    return max(20, size.columns or 80), max(4, size.lines or 24)


@contextlib.contextmanager
def repeating(seconds: float, function: Callable[[], None]) -> Iterator[None]:
    """Call a function at a regular interval, in a thread."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(seconds):
            function()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


view = View()
