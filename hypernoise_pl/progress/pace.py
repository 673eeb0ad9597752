"""Measures the speed of counted work and estimates its end."""

from __future__ import annotations

import time
from collections import deque

KEPT_MARKS = 2  # marks from which the recent speed is measured


def clock(seconds: float) -> str:
    """Format a duration as 3:12, or as 1:03:12 from one hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Pace:
    """Counts finished units and their seconds of work, without pauses.

    Args:
        total: number of units; None if unknown.
        done: number of units that are already done.
    """

    def __init__(self, total: int | None, done: int = 0) -> None:
        self.total, self.done = total, done
        self._first = done
        self._start = time.monotonic()
        self._paused: float | None = None  # start of the current pause; None outside a pause
        self._pauses = 0.0  # seconds of all pauses
        self._advanced = 0.0  # seconds of work until the newest unit
        self._marks = deque([(0.0, done)], KEPT_MARKS)  # seconds of work and units done

    @property
    def paused(self) -> bool:
        """Whether the work is paused."""
        return self._paused is not None

    def advance(self, count: int) -> None:
        """Count finished units."""
        self.done += count
        self._advanced = self.worked()

    def pause(self) -> None:
        """Start a pause, in which other work runs."""
        self._paused = time.monotonic()

    def resume(self) -> None:
        """End a pause."""
        if self._paused is not None:
            self._pauses += time.monotonic() - self._paused
            self._paused = None

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def worked(self) -> float:
        """Seconds since the start, without pauses."""
        return self.elapsed() - self._pauses

    def seconds_per_unit(self) -> float | None:
        """Recent seconds of work per unit, measured from the oldest kept mark; None before the first unit."""
        then, done = self._marks[0]
        if self.done <= done:
            return None
        return max(1e-9, self._advanced - then) / (self.done - done)

    def remaining(self) -> float | None:
        """Estimated seconds until the end, with pauses as frequent as before; None if there is no estimate."""
        pace = self.seconds_per_unit()
        if pace is None or self.total is None:
            return None
        return (self.total - self.done) * (pace + self._pauses / (self.done - self._first))

    def mark(self, min_seconds: float = 0.0) -> None:
        """Set a mark from which the speed is measured.

        Args:
            min_seconds: seconds of work since the newest mark; below it no mark is set.
        """
        then, done = self._marks[-1]
        if self.done > done and self._advanced - then >= min_seconds:
            self._marks.append((self._advanced, self.done))

    def clear_marks(self) -> None:
        """Remove all marks: the speed is then that of the whole work."""
        self._marks = deque([(0.0, self._first)], KEPT_MARKS)
