"""A small chart of a figure, drawn with block characters."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import fmean

LEVELS = "▁▂▃▄▅▆▇█"
MAX_POINTS = 256


class Sparkline:
    """A chart of a figure over a run; above ``MAX_POINTS`` points, two neighbours are replaced by their mean."""

    def __init__(self) -> None:
        self._points: list[float] = []
        self._pending: list[float] = []  # values of the next point
        self._values_per_point = 1

    def add(self, value: float) -> None:
        """Add the next value; a value that is not finite is ignored."""
        if not math.isfinite(value):
            return
        self._pending.append(value)
        if len(self._pending) < self._values_per_point:
            return
        self._points.append(fmean(self._pending))
        self._pending = []
        if len(self._points) == MAX_POINTS:
            self._points = [fmean(pair) for pair in zip(self._points[::2], self._points[1::2])]
            self._values_per_point *= 2

    def draw(self, width: int) -> str:
        """Draw all points in at most ``width`` characters; empty for fewer than two points."""
        points = list(self._points)
        width = min(width, len(points))
        if width < 2:
            return ""
        bounds = [len(points) * column // width for column in range(width + 1)]
        means = [fmean(points[start:end]) for start, end in pairwise(bounds)]
        low, high = min(means), max(means)
        if high == low:
            return LEVELS[0] * width
        return "".join(LEVELS[round((mean - low) / (high - low) * (len(LEVELS) - 1))] for mean in means)
