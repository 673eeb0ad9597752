"""The live view at the foot of a terminal, and what others print meanwhile, above it.

The cursor waits at the head of the view, in an empty line. So whatever reaches the terminal by another way (another
process, a library in C, the ^C of a key) stands above the view, a new width leaves nothing behind, and a process that
is killed leaves its terminal as it should be: nothing is hidden and nothing has to be given back.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from hypernoise_pl.progress.above import Above
from hypernoise_pl.progress.picture import Row, pictured

GLANCE = 0.5  # seconds between two pictures of the view
_RANKS = ("RANK", "NODE_RANK", "LOCAL_RANK", "SLURM_PROCID")  # of launchers; all are 0 in a run's first process


def in_terminal() -> bool:
    """Whether standard output and standard error are both terminals that can move their cursor."""
    able = os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")
    return able and sys.stdout.isatty() and sys.stderr.isatty()


def first_process() -> bool:
    """Whether this is the first process of a run, the only one that tells its progress."""
    return all(os.environ.get(name, "0") == "0" for name in _RANKS)


class View:
    """Rows of work that is going on; drawn while there are any.

    Between the first row's coming and the last one's going, standard output, standard error and the handlers of loggers
    that write there write above the view.
    """

    def __init__(self) -> None:
        self._rows: list[Callable[[], Row]] = []
        self.lock = threading.RLock()
        self._within = contextlib.ExitStack()
        self._streams: list[Above] = []
        self._screen: Any = None
        self._turn = 0
        self.drawing = False

    def add(self, row: Callable[[], Row]) -> None:
        """Show a row, below those that are shown; it is asked for at every picture."""
        with self.lock:
            self._rows.append(row)
            if self._screen is None:
                self._begin()
            self._draw()

    def drop(self, row: Callable[[], Row]) -> None:
        """Show a row no more."""
        with self.lock:
            self._rows.remove(row)
            if self._rows:
                self._draw()
                return
            within = self._end()
        within.close()  # the thread may be waiting for the lock

    @property
    def open(self) -> bool:
        """Whether this process draws."""
        return self._screen is not None and self._process == os.getpid()

    def _begin(self) -> None:
        self._screen, self._process, self._turn = sys.stderr, os.getpid(), 0
        self._streams = [Above(self, sys.stdout), Above(self, sys.stderr)]
        self._within = contextlib.ExitStack()
        for name, stream in zip(("stdout", "stderr"), self._streams):
            _swap(sys, name, stream, self._within)
        for handler in _handlers():
            for stream in self._streams:
                if handler.stream is stream.below:
                    _swap(handler, "stream", stream, self._within)
                    break
        self._within.enter_context(ticks(GLANCE, self._tick))

    def _end(self) -> contextlib.ExitStack:
        """Clear the view; what is left to close once the lock is free."""
        self._put("\r\x1b[J")
        self._screen = None
        for stream in self._streams:
            stream.let_go()
        return self._within

    def above(self, stream: Above, text: str) -> None:
        """Print whole lines above the view."""
        with self.lock:
            for other in self._streams:
                if other is not stream:
                    other.settle()  # what came before
            self._put("\r\x1b[J")
            stream.below.write(text)
            stream.below.flush()
            self._draw()

    def _tick(self) -> None:
        with self.lock:
            if self._screen is None:
                return
            self._turn += 1
            for stream in self._streams:
                stream.settle()
            self._draw()

    def _draw(self) -> None:
        if self.drawing or self._screen is None:
            return
        self.drawing = True
        try:
            columns, height = _size(self._screen)
            rest = [line for stream in self._streams for line in stream.rest()]
            shown = [row() for row in self._rows]
            encoding = getattr(self._screen, "encoding", None) or "utf-8"
            drawn = pictured(rest, shown, columns - 1, self._turn, encoding)[: height - 2]
            self._put("\r\x1b[J" + "".join(f"\n\r{line}" for line in drawn) + f"\x1b[{len(drawn)}A\r")
        finally:
            self.drawing = False

    def _put(self, codes: str) -> None:
        with contextlib.suppress(OSError):  # the terminal has gone; the work has not
            self._screen.write(codes)
            self._screen.flush()


def _swap(holder: Any, name: str, value: Any, within: contextlib.ExitStack) -> None:
    """Set an attribute until the end, if nobody has set another by then."""
    before = getattr(holder, name)
    setattr(holder, name, value)

    def back() -> None:
        if getattr(holder, name) is value:
            setattr(holder, name, before)

    within.callback(back)


def _handlers() -> Iterator[Any]:
    """The handlers of all loggers that write to a stream."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    for handler in {handler for logger in loggers for handler in getattr(logger, "handlers", ())}:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            yield handler


def _size(stream: Any) -> tuple[int, int]:
    """Columns and lines of a terminal."""
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):  # a terminal that does not say
        size = os.terminal_size((80, 24))
    return max(20, size.columns or 80), max(4, size.lines or 24)


@contextlib.contextmanager
def ticks(seconds: float, work: Callable[[], None]) -> Iterator[None]:
    """Do something every so many seconds, in a thread, whatever else is going on."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(seconds):
            work()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


view = View()
