"""How fast counted work goes, and when it ends."""

from __future__ import annotations

import time
from collections import deque

RECENT = 2  # marks whose pace is that of the estimate


def clock(seconds: float) -> str:
    """A duration as 3:12, or 1:03:12 from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Pace:
    """Units done over the seconds of their work; pauses do not count.

    Args:
        total: units in all; None where nobody knows.
        done: units that were done before.
    """

    def __init__(self, total: int | None, done: int = 0) -> None:
        self.total, self.done = total, done
        self._first = done
        self._began = time.monotonic()
        self._paused: float | None = None  # when the work began to wait for other work; None while it goes on
        self._waited = 0.0
        self._advanced = 0.0  # seconds of work when the newest unit was done
        self._marks = deque([(0.0, done)], RECENT)  # seconds of work and units done

    @property
    def paused(self) -> bool:
        """Whether the work waits for other work."""
        return self._paused is not None

    def advance(self, count: int) -> None:
        """So many more units are done."""
        self.done += count
        self._advanced = self.worked()

    def pause(self) -> None:
        """Other work begins, whose time is not this one's pace."""
        self._paused = time.monotonic()

    def resume(self) -> None:
        """The other work is done."""
        if self._paused is not None:
            self._waited += time.monotonic() - self._paused
            self._paused = None

    def lasted(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def worked(self) -> float:
        """Seconds since the beginning, without pauses."""
        return self.lasted() - self._waited

    def of_late(self) -> float | None:
        """Seconds of work a unit since the mark before the newest; None before the first unit is done."""
        then, before = self._marks[0]
        if self.done <= before:
            return None
        return max(1e-9, self._advanced - then) / (self.done - before)

    def left(self) -> float | None:
        """Seconds until the end, with the usual share of other work; None if there is nothing to tell it by."""
        pace = self.of_late()
        if pace is None or self.total is None:
            return None
        return (self.total - self.done) * (pace + self._waited / (self.done - self._first))

    def mark(self, after: float = 0.0) -> None:
        """Have the pace be that since the mark before.

        Args:
            after: seconds of work since the newest mark before which nothing is marked.
        """
        then, before = self._marks[-1]
        if self.done > before and self._advanced - then >= after:
            self._marks.append((self._advanced, self.done))

    def forget(self) -> None:
        """Have the pace be that of the whole."""
        self._marks = deque([(0.0, self._first)], RECENT)
