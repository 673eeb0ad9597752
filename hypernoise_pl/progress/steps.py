"""Progress of counted work and of named phases: rows of the live view in a terminal, lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from hypernoise_pl.progress.drawing import Row
from hypernoise_pl.progress.pace import Pace, clock
from hypernoise_pl.progress.terminal import first_process, in_terminal, repeating, view

LINE_SECONDS = 60.0  # between two lines
MARK_SECONDS = 5.0  # of work between two marks of the speed, in a terminal
LONG_PHASE_SECONDS = 5.0  # a longer phase leaves a line in the terminal

_open: list[Steps] = []  # shown work, the innermost last


def say(text: str) -> None:
    """Print a line immediately; in a terminal it appears above the live view."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Steps:
    """Progress of counted work.

    In a terminal it is a row of the live view; elsewhere it prints a line at the start, one per minute and one at the
    end. An exception suppresses the last line, except the one that the outermost work leaves in a terminal.

    Args:
        name: name of the work, at the start of each line.
        total: number of units; None if unknown.
        unit: name of the units.
        done: number of units that are already done.
        note: function that gives an additional text for each line; any thread may call it.
        form: format of the count.
        every: seconds between two lines; 0 for one line per advance.
        shown: whether this process shows progress; None for the first process only.
        facts: function that gives the texts below the bar for each frame, one inner list per line; any thread may
            call it. None to show the note.
    """

    def __init__(
        self,
        name: str,
        total: int | None,
        unit: str,
        done: int = 0,
        note: Callable[[], str] | None = None,
        form: str = "{done:,}{of} {unit}",
        every: float = LINE_SECONDS,
        shown: bool | None = None,
        facts: Callable[[], list[list[str]]] | None = None,
    ) -> None:
        self.name, self.total, self.unit = name, total, unit
        self.part: str | Callable[[], str] | None = None  # current part of a long unit
        self._note, self._form, self._every, self._facts = note, form, every, facts
        self._pace = Pace(total, done)
        self._lock = threading.RLock()
        self._timer = contextlib.ExitStack()
        self.shown = first_process() if shown is None else shown
        self.in_view = self.shown and in_terminal()
        if not self.shown:
            return
        self._nested = bool(_open)
        _open.append(self)
        if self.in_view:
            view.add(self._row)
        else:
            say(self._line())
            if every > 0:
                self._timer.enter_context(repeating(every, self._tick))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(finished=error_type is None)

    @property
    def done(self) -> int:
        """Number of finished units."""
        return self._pace.done

    @property
    def in_lines(self) -> bool:
        """Whether this process prints lines."""
        return self.shown and not self.in_view

    def advance(self, count: int = 1) -> None:
        """Count finished units."""
        with self._lock:
            self._pace.advance(count)
            if self.in_view:
                self._pace.mark(min_seconds=MARK_SECONDS)
            elif self.shown and self._every <= 0:
                say(self._line())

    def pause(self) -> None:
        """Start a pause, in which other work runs."""
        with self._lock:
            self._pace.pause()

    def resume(self) -> None:
        """End a pause."""
        with self._lock:
            self._pace.resume()

    def close(self, finished: bool = True) -> None:
        """Remove the work from the view, or print its last line.

        Args:
            finished: whether the work is finished; unfinished work prints no last line in a log.
        """
        self._timer.close()
        if not self.shown or self not in _open:
            return
        _open.remove(self)
        if self.in_view:
            view.remove(self._row)
        if not self._nested if self.in_view else finished:
            self._pace.clear_marks()
            say(self._line(f"{'in' if finished else 'after'} {clock(self._pace.elapsed())}"))

    def worked(self) -> float:
        """Seconds since the start, without pauses."""
        return self._pace.worked()

    def seconds_per_unit(self) -> float | None:
        """Recent seconds of work per unit; None before the first unit."""
        return self._pace.seconds_per_unit()

    def remaining(self) -> float | None:
        """Estimated seconds until the end, with pauses as frequent as before; None if there is no estimate."""
        return self._pace.remaining()

    def _counted(self) -> str:
        of = "" if self.total is None else f" of {self.total:,}"
        return self._form.format(done=self.done, of=of, unit=self.unit)

    def _line(self, end: str | None = None) -> str:
        """The state as a line; ``end`` replaces the remaining time."""
        share = "" if self.total is None else f" ({100 * self.done // max(1, self.total)} %)"
        parts = [f"{self.name}: {self._counted()}{share}", *_texts(self._note, self.part)]
        remaining, seconds = self.remaining(), self._pace.elapsed()
        if end is not None:
            parts.append(end)
        elif remaining is not None and self.done < (self.total or 0):
            parts.append(f"{clock(remaining)} left")
        elif seconds >= 1 and remaining is None:
            parts.append(f"{clock(seconds)} so far")
        self._pace.mark()
        return ", ".join(parts)

    def _row(self) -> Row:
        with self._lock:
            remaining = self.remaining()
            no_estimate = remaining is None or self.done >= (self.total or 0)
            time = f"{clock(self._pace.elapsed())} so far" if no_estimate else f"{clock(remaining or 0.0)} left"
            status = f"{self._counted()}  {'waits' if self._pace.paused else time}"
            share = None if self.total is None else self.done / max(1, self.total)
            facts = [_texts(self._note)] if self._facts is None else self._facts()
            return Row(self.name, share, status, [*facts, _texts(self.part)])

    def _tick(self) -> None:
        with self._lock:
            if not self._pace.paused:
                say(self._line())


@contextlib.contextmanager
def phase(name: str) -> Iterator[None]:
    """Show work of unknown length: a row in a terminal; elsewhere a line at its start and one per minute."""
    if not first_process():
        yield
        return
    pace = Pace(None)
    if not in_terminal():
        say(name)
        with repeating(LINE_SECONDS, lambda: say(f"{name}, {clock(pace.elapsed())} so far")):
            yield
        return

    def row() -> Row:
        return Row(name, None, clock(pace.elapsed()))

    view.add(row)
    try:
        yield
    finally:
        view.remove(row)
        if pace.elapsed() >= LONG_PHASE_SECONDS:
            say(f"{name}, in {clock(pace.elapsed())}")


@contextlib.contextmanager
def part(text: str | Callable[[], str]) -> Iterator[None]:
    """Name the current part of a long unit; the innermost ``Steps`` shows it."""
    shown = _open[-1] if _open else None
    if shown is None:
        yield
        return
    shown.part = text
    try:
        yield
    finally:
        shown.part = None


def _texts(*notes: str | Callable[[], str] | None) -> list[str]:
    return [text for text in (note() if callable(note) else note for note in notes) if text]
