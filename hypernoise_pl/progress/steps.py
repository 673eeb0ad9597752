"""Work that is counted or has a name: a row of the live view in a terminal, lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from hypernoise_pl.progress.pace import Pace, clock
from hypernoise_pl.progress.picture import Row
from hypernoise_pl.progress.terminal import first_process, in_terminal, ticks, view

EVERY = 60.0  # seconds between two lines
LATE = 5.0  # seconds of work between two marks of the pace, in a terminal
LONG = 5.0  # seconds from which a terminal keeps a line of a phase that is over

_open: list[Steps] = []  # what is shown now, the innermost last


def say(text: str) -> None:
    """Print a line at once, above the view of a terminal."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Steps:
    """Work that is counted: a row in a terminal; elsewhere a line at its start, one a minute and one at its end.

    Left by an exception it says nothing more, but for the line that a terminal keeps of the outermost work.

    Args:
        name: of the work, first in every line.
        total: units in all; None where nobody knows.
        unit: what is counted.
        done: units that were done before.
        note: what a line says besides, asked for whenever one is written, by any thread.
        form: how a line counts.
        every: seconds between two lines; 0 for one at every advance.
        shown: whether this process shows anything; None for the first process alone.
        facts: what a terminal shows below the bar, asked for at every picture, by any thread; each inner list is a
            line or more. None for the note.
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
        facts: Callable[[], list[list[str]]] | None = None,
    ) -> None:
        self.name, self.total, self.unit = name, total, unit
        self.part: str | Callable[[], str] | None = None  # what is being done now, of a unit that takes long
        self._note, self._form, self._every, self._facts = note, form, every, facts
        self._count = Pace(total, done)
        self._lock = threading.RLock()
        self._ticking = contextlib.ExitStack()
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
                self._ticking.enter_context(ticks(every, self._tick))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(said=kind is None)

    @property
    def done(self) -> int:
        """Units done."""
        return self._count.done

    @property
    def in_lines(self) -> bool:
        """Whether this process prints lines."""
        return self.shown and not self.in_view

    def advance(self, count: int = 1) -> None:
        """So many more units are done."""
        with self._lock:
            self._count.advance(count)
            if self.in_view:
                self._count.mark(after=LATE)
            elif self.shown and self._every <= 0:
                say(self._line())

    def pause(self) -> None:
        """Other work begins, whose time is not this one's pace."""
        with self._lock:
            self._count.pause()

    def resume(self) -> None:
        """The other work is done."""
        with self._lock:
            self._count.resume()

    def close(self, said: bool = True) -> None:
        """End it.

        Args:
            said: whether it came to its end, so that a log has a line for it.
        """
        self._ticking.close()
        if not self.shown or self not in _open:
            return
        _open.remove(self)
        if self.in_view:
            view.drop(self._row)
        if said if not self.in_view else not self._nested:
            self._count.forget()
            say(self._line(f"{'in' if said else 'after'} {clock(self._count.lasted())}"))

    def worked(self) -> float:
        """Seconds since the beginning, without pauses."""
        return self._count.worked()

    def pace(self) -> float | None:
        """Seconds of work a unit, of late; None before the first unit is done."""
        return self._count.of_late()

    def left(self) -> float | None:
        """Seconds until the end, with the usual share of other work; None if there is nothing to tell it by."""
        return self._count.left()

    def _counted(self) -> str:
        of = "" if self.total is None else f" of {self.total:,}"
        return self._form.format(done=self.done, of=of, unit=self.unit)

    def _line(self, end: str | None = None) -> str:
        """The state in words; ``end`` is said in the place of the time that is left."""
        share = "" if self.total is None else f" ({100 * self.done // max(1, self.total)} %)"
        parts = [f"{self.name}: {self._counted()}{share}", *_asked(self._note, self.part)]
        left, seconds = self.left(), self._count.lasted()
        if end is not None:
            parts.append(end)
        elif left is not None and self.done < (self.total or 0):
            parts.append(f"{clock(left)} left")
        elif seconds >= 1 and left is None:
            parts.append(f"{clock(seconds)} so far")
        self._count.mark()
        return ", ".join(parts)

    def _row(self) -> Row:
        with self._lock:
            left = self.left()
            over = left is None or self.done >= (self.total or 0)
            time = f"{clock(self._count.lasted())} so far" if over else f"{clock(left or 0.0)} left"
            words = f"{self._counted()}  {'waits' if self._count.paused else time}"
            share = None if self.total is None else self.done / max(1, self.total)
            facts = [_asked(self._note)] if self._facts is None else self._facts()
            return Row(self.name, share, words, [*facts, _asked(self.part)])

    def _tick(self) -> None:
        with self._lock:
            if not self._count.paused:
                say(self._line())


@contextlib.contextmanager
def phase(name: str) -> Iterator[None]:
    """Name work of unknown length: a row in a terminal; elsewhere a line at its start, and one a minute."""
    if not first_process():
        yield
        return
    lasting = Pace(None)
    if not in_terminal():
        say(name)
        with ticks(EVERY, lambda: say(f"{name}, {clock(lasting.lasted())} so far")):
            yield
        return

    def row() -> Row:
        return Row(name, None, clock(lasting.lasted()))

    view.add(row)
    try:
        yield
    finally:
        view.drop(row)
        if lasting.lasted() >= LONG:
            say(f"{name}, in {clock(lasting.lasted())}")


@contextlib.contextmanager
def part(text: str | Callable[[], str]) -> Iterator[None]:
    """Say with the ``Steps`` that are shown now what is being done of a unit that takes long."""
    shown = _open[-1] if _open else None
    if shown is None:
        yield
        return
    shown.part = text
    try:
        yield
    finally:
        shown.part = None


def _asked(*notes: str | Callable[[], str] | None) -> list[str]:
    return [text for text in (note() if callable(note) else note for note in notes) if text]
