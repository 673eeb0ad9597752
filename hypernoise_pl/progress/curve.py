"""How a figure has gone, in a few characters."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import fmean

LEVELS = "▁▂▃▄▅▆▇█"
KEPT = 256  # points at the most


class Curve:
    """A figure over a run of any length; once there are too many points, neighbours become their mean."""

    def __init__(self) -> None:
        self._points: list[float] = []
        self._waiting: list[float] = []  # for enough of them to make a point
        self._each = 1  # values of a point

    def add(self, value: float) -> None:
        """Add the next value; one that is not finite is left out."""
        if not math.isfinite(value):
            return
        self._waiting.append(value)
        if len(self._waiting) < self._each:
            return
        self._points.append(fmean(self._waiting))
        self._waiting = []
        if len(self._points) == KEPT:
            self._points = [fmean(pair) for pair in zip(self._points[::2], self._points[1::2])]
            self._each *= 2

    def drawn(self, width: int) -> str:
        """The whole run in at most ``width`` characters, lowest to highest; empty for fewer than two points."""
        points = list(self._points)
        width = min(width, len(points))
        if width < 2:
            return ""
        bounds = [len(points) * place // width for place in range(width + 1)]
        means = [fmean(points[start:end]) for start, end in pairwise(bounds)]
        low, high = min(means), max(means)
        if high == low:
            return LEVELS[0] * width
        return "".join(LEVELS[round((mean - low) / (high - low) * (len(LEVELS) - 1))] for mean in means)
