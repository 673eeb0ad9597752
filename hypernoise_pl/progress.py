"""What a command is doing: a bar where a person watches, whole lines anywhere else (a log file, a pipe)."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

EVERY = 60.0  # seconds between two lines
RECENT = 2  # lines whose pace is that of the estimate
GLANCE = 5.0  # seconds between two looks at the pace, for a bar
_BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
_RANKS = ("RANK", "NODE_RANK", "LOCAL_RANK", "SLURM_PROCID")  # of launchers; all are 0 in a run's first process

_open: list[Steps] = []  # what is shown now, the innermost last


def in_terminal() -> bool:
    """Whether standard output and standard error are both terminals, so that a bar may be drawn."""
    return sys.stdout.isatty() and sys.stderr.isatty()


def first_process() -> bool:
    """Whether this is the first process of a run, the only one that tells its progress."""
    return all(os.environ.get(name, "0") == "0" for name in _RANKS)


def say(text: str) -> None:
    """Print a line at once, above the bars of a terminal."""
    if in_terminal():
        tqdm.write(text)
    else:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def clock(seconds: float) -> str:
    """A duration as 3:12, or 1:03:12 from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Steps:
    """Work that is counted: a bar in a terminal; elsewhere a line at its start, one a minute and one at its end.

    Left by an exception it says nothing more.

    Args:
        name: of the work, first in every line.
        total: units in all; None where nobody knows.
        unit: what is counted.
        done: units that were done before.
        note: what a line or a bar says besides, asked for whenever one is written, by any thread.
        form: how a line counts.
        every: seconds between two lines; 0 for one at every advance.
        shown: whether this process shows anything; None for the first process alone.
    """

    def __init__(
        self,
        name: str,
        total: int | None,
        unit: str,
        done: int = 0,
        note: Callable[[], str] | None = None,
        form: str = "{done:,}{of} {unit}",
        every: float = EVERY,
        shown: bool | None = None,
    ) -> None:
        self.name, self.total, self.unit, self.done = name, total, unit, done
        self.part: str | Callable[[], str] | None = None  # what is being done now, of a unit that takes long
        self._note, self._form, self._every, self._first = note, form, every, done
        self._bar: Any = None
        self._lock = threading.RLock()
        self._began = time.monotonic()
        self._paused: float | None = None  # when the work began to wait for other work; None while it goes on
        self._waited = 0.0
        self._advanced = 0.0  # seconds of work when the newest unit was done
        self._marks = deque([(0.0, done)], RECENT)  # seconds of work and units done
        self._ticking = contextlib.ExitStack()
        self.shown = first_process() if shown is None else shown
        if not self.shown:
            return
        _open.append(self)
        if in_terminal():
            self._bar = tqdm(
                total=total,
                initial=done,
                desc=name,
                unit_scale=total is not None and total >= 10_000,
                dynamic_ncols=True,
                leave=len(_open) == 1,  # one within another goes with its end
                bar_format=None if total is None else _BAR,
            )
            self._ticking.enter_context(_ticks(1.0, self._refresh))
        else:
            say(self._line())
            if every > 0:
                self._ticking.enter_context(_ticks(every, self._tick))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(said=kind is None)

    def advance(self, count: int = 1) -> None:
        """So many more units are done."""
        with self._lock:
            self.done += count
            self._advanced = self.worked()
            if not self.shown:
                return
            if self._bar is not None:
                self._bar.update(count)
                if self._advanced - self._marks[-1][0] >= GLANCE:
                    self._mark()
            elif self._every <= 0:
                say(self._line())

    def pause(self) -> None:
        """Other work begins, whose time is not this one's pace."""
        with self._lock:
            self._paused = time.monotonic()

    def resume(self) -> None:
        """The other work is done."""
        with self._lock:
            if self._paused is not None:
                self._waited += time.monotonic() - self._paused
                self._paused = None

    def close(self, said: bool = True) -> None:
        """End it.

        Args:
            said: whether a log has a line for the end.
        """
        self._ticking.close()
        if not self.shown or self not in _open:
            return
        _open.remove(self)
        if self._bar is not None:
            self._bar.set_postfix_str(", ".join(self._notes()), refresh=False)
            self._bar.close()
        elif said:
            self._marks = deque([(0.0, self._first)], RECENT)  # the pace of the whole
            say(self._line(f"in {clock(time.monotonic() - self._began)}"))

    @property
    def in_lines(self) -> bool:
        """Whether this process prints lines."""
        return self.shown and self._bar is None

    def worked(self) -> float:
        """Seconds since the beginning, without pauses."""
        return time.monotonic() - self._began - self._waited

    def pace(self) -> float | None:
        """Seconds of work a unit, of late; None before the first unit is done."""
        then, before = self._marks[0]
        if self.done <= before:
            return None
        return max(1e-9, self._advanced - then) / (self.done - before)

    def left(self) -> float | None:
        """Seconds until the end, with the usual share of other work; None if there is nothing to tell it by."""
        pace = self.pace()
        if pace is None or self.total is None:
            return None
        return (self.total - self.done) * (pace + self._waited / (self.done - self._first))

    def _mark(self) -> None:
        if self.done > self._marks[-1][1]:
            self._marks.append((self._advanced, self.done))

    def _line(self, end: str | None = None) -> str:
        """The state in words; ``end`` is said in the place of the time that is left."""
        of, share = "", ""
        if self.total is not None:
            of, share = f" of {self.total:,}", f" ({100 * self.done // max(1, self.total)} %)"
        parts = [f"{self.name}: {self._form.format(done=self.done, of=of, unit=self.unit)}{share}", *self._notes()]
        left, seconds = self.left(), time.monotonic() - self._began
        if end is not None:
            parts.append(end)
        elif left is not None and self.done < (self.total or 0):
            parts.append(f"{clock(left)} left")
        elif seconds >= 1 and left is None:
            parts.append(f"{clock(seconds)} so far")
        self._mark()
        return ", ".join(parts)

    def _notes(self) -> list[str]:
        asked = (self._note, self.part)
        return [text for text in (note() if callable(note) else note for note in asked) if text]

    def _tick(self) -> None:
        with self._lock:
            if self._paused is None:
                say(self._line())

    def _refresh(self) -> None:
        with self._lock:
            if self._paused is None:
                self._bar.set_postfix_str(", ".join(self._notes()))


@contextlib.contextmanager
def phase(name: str) -> Iterator[None]:
    """Name work of unknown length: a line at its start, and one a minute while it lasts."""
    if not first_process():
        yield
        return
    began = time.monotonic()
    say(name)
    with _ticks(EVERY, lambda: say(f"{name}, {clock(time.monotonic() - began)} so far")):
        yield


@contextlib.contextmanager
def part(text: str | Callable[[], str]) -> Iterator[None]:
    """Say in the lines of the ``Steps`` that are shown now what is being done of a unit that takes long."""
    shown = _open[-1] if _open else None
    if shown is None:
        yield
        return
    shown.part = text
    try:
        yield
    finally:
        shown.part = None


@contextlib.contextmanager
def _ticks(seconds: float, work: Callable[[], None]) -> Iterator[None]:
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
