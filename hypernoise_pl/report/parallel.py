"""Points of a search over settings as SVG text: parallel coordinates, and two figures against each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from hypernoise_pl.report.charts import GREY, faint, ticks

WIDTH, HEIGHT = 900, 300
TOP, BOTTOM, SIDE = 30, 22, 70
BEST, PLAIN = "#d1495b", "#3b7dd8"


@dataclass(frozen=True)
class Axis:
    """One axis of parallel coordinates.

    Args:
        name: above it.
        values: in order from bottom to top, where it has a list of them; none for a range.
        ends: of a range; None for those of the points.
        log: whether a range is on a log scale.
    """

    name: str
    values: Sequence[str] = ()
    ends: tuple[float, float] | None = None
    log: bool = False


@dataclass(frozen=True)
class Mark:
    """A point.

    Args:
        name: said where the pointer rests on it.
        places: axis -> value; a text on an axis with a list of values.
        best: whether it is among the best, in a colour of its own.
        whole: whether it ran to its end; a line of one that did not is thin.
    """

    name: str
    places: Mapping[str, str | float]
    best: bool = False
    whole: bool = True


def parallel(axes: Sequence[Axis], marks: Sequence[Mark]) -> str:
    """An SVG with an axis for each setting and figure, and a line for each point; empty without points.

    Args:
        axes: two at least.
        marks: of which those with a value on every axis are drawn.
    """
    shown = [mark for mark in marks if all(axis.name in mark.places for axis in axes)]
    if not shown:
        return ""
    columns = {axis.name: SIDE + (WIDTH - 2 * SIDE) * place / (len(axes) - 1) for place, axis in enumerate(axes)}
    scales = {axis.name: _Scale.of(axis, [mark.places[axis.name] for mark in shown]) for axis in axes}
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="parallel coordinates of all trials">']
    for mark in sorted(shown, key=lambda mark: (mark.best, mark.whole)):  # the best above the others
        path = " ".join(f"{columns[a.name]:.1f},{scales[a.name].y(mark.places[a.name]):.1f}" for a in axes)
        colour = BEST if mark.best else PLAIN if mark.whole else GREY
        width = 2.6 if mark.best else 1.4 if mark.whole else 0.7
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}" '
            f'opacity="{1 if mark.best else 0.7}"><title>{escape(mark.name)}</title></polyline>'
        )
    for place, axis in enumerate(axes):
        x = columns[axis.name]
        last = place == len(axes) - 1
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(faint(x, 14, axis.name, "start" if place == 0 else "end" if last else "middle"))
        for text, y in scales[axis.name].labels():
            parts.append(faint(x + (6 if last else -6), y + 4, text, "start" if last else "end"))
    return "".join(parts) + "</svg>"


def scatter(across: str, upward: str, marks: Sequence[Mark]) -> str:
    """An SVG with two figures of each point against each other; empty without points."""
    shown = [mark for mark in marks if across in mark.places and upward in mark.places]
    if not shown:
        return ""
    width, left, floor = 560, 60, HEIGHT - 40
    xs, ys = ([float(mark.places[name]) for mark in shown] for name in (across, upward))
    (low, high), (bottom, top) = _around(xs), _around(ys)

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (width - left - 20)

    def y(value: float) -> float:
        return floor - (value - bottom) / (top - bottom) * (floor - 20)

    parts = [f'<svg viewBox="0 0 {width} {HEIGHT}" role="img" aria-label="{escape(upward)} by {escape(across)}">']
    for tick in ticks(low, high):
        parts.append(f'<line class="axis" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="20" y2="{floor}"/>')
        parts.append(faint(x(tick), floor + 15, f"{tick:g}", "middle"))
    for tick in ticks(bottom, top):
        parts.append(f'<line class="axis" x1="{left}" x2="{width - 20}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(faint(left - 5, y(tick) + 4, f"{tick:g}", "end"))
    front = sorted((float(m.places[across]), float(m.places[upward])) for m in shown if m.best)
    path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in front)
    parts.append(f'<polyline points="{path}" fill="none" stroke="{BEST}" stroke-width="1.2"/>')
    for mark, a, b in zip(shown, xs, ys, strict=True):
        parts.append(
            f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="4" fill="{BEST if mark.best else PLAIN}">'
            f"<title>{escape(mark.name)}: {a:.4g}, {b:.4g}</title></circle>"
        )
    parts += [faint(left + 6, 14, upward, "start"), faint(width / 2, HEIGHT - 6, across, "middle")]
    return "".join(parts) + "</svg>"


@dataclass(frozen=True)
class _Scale:
    """From values to places on an axis."""

    values: tuple[str, ...]
    low: float
    high: float
    log: bool

    @staticmethod
    def of(axis: Axis, found: Sequence[str | float]) -> _Scale:
        if axis.values:
            return _Scale(tuple(axis.values), 0.0, 0.0, False)
        inside = found if axis.ends is None else axis.ends
        numbers = [math.log10(float(value)) if axis.log else float(value) for value in inside]
        return _Scale((), *_around(numbers), axis.log)

    def y(self, value: str | float) -> float:
        if self.values:
            share = (self.values.index(str(value)) + 0.5) / len(self.values)
        else:
            number = math.log10(float(value)) if self.log else float(value)
            share = (number - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)

    def labels(self) -> list[tuple[str, float]]:
        if self.values:
            return [(value, self.y(value)) for value in self.values]
        if self.log:
            low, high = 10**self.low, 10**self.high
            powers = range(math.floor(self.low), math.ceil(self.high) + 1)
            marks = [m * 10.0**p for p in powers for m in (1, 2, 5) if low <= m * 10.0**p <= high]
        else:
            marks = ticks(self.low, self.high)
        return [(f"{mark:g}", self.y(mark)) for mark in marks]


def _around(values: Sequence[float]) -> tuple[float, float]:
    room = 0.05 * (max(values) - min(values)) or 0.05 * abs(values[0]) or 1.0
    return min(values) - room, max(values) + room
