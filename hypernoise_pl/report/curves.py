"""Figures over the steps of a run, as SVG text with the colours of its page; every curve has its name beside it.

The page of a run has some 25 curves and is written again and again while it trains: this takes a fiftieth of the time
that matplotlib takes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from statistics import fmean

from hypernoise_pl.report.charts import spread
from hypernoise_pl.report.svg import COLOURS, GREY

WIDTH, HEIGHT = 480, 220
LEFT, RIGHT, TOP, BOTTOM = 46, 128, 14, 42
APART = 13.5  # pixels between two names
FLOOR = HEIGHT - BOTTOM
POINTS = 300  # most points of a curve


@dataclass(frozen=True)
class Curve:
    """A figure over steps.

    Args:
        name: name beside the last point; may be empty.
        points: step and value.
        grey: whether the curve is the one to compare with.
        dots: whether to draw each point.
        band: step, low and high, drawn behind the curve.
    """

    name: str
    points: Sequence[tuple[float, float]]
    grey: bool = False
    dots: bool = False
    band: Sequence[tuple[float, float, float]] = ()


def over_steps(
    title: str, curves: Sequence[Curve], last: int, level: float | None = None, marks: Sequence[tuple[float, str]] = ()
) -> str:
    """An SVG of all curves that have a point; empty if none has.

    Args:
        title: title of the figure.
        curves: at least one curve.
        last: step at the right end, above 0.
        level: value of a horizontal line, the ideal of the figure; None for none.
        marks: steps of vertical lines, and their texts under the pointer.
    """
    shown = [curve for curve in curves if curve.points]
    if not shown:
        return ""
    axes = _Axes.around(shown, last, level)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)} by step">', *_grid(axes)]
    if level is not None:
        parts.append(_across("level", axes.y(level)))
    for step, said in marks:
        x = axes.x(step)
        line = f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{FLOOR}">'
        parts.append(f"{line}<title>{escape(f'step {step:g}: {said}')}</title></line>")
    named = [curve for curve in shown if curve.name]
    heights = dict(
        zip(map(id, named), spread([axes.y(curve.points[-1][1]) for curve in named], HEIGHT, APART, TOP), strict=True)
    )
    colours = iter(COLOURS * len(shown))
    for curve in shown:
        height = heights.get(id(curve))
        parts += _drawn(curve, GREY if curve.grey else next(colours), axes, height)
    return "".join(parts) + "</svg>"


@dataclass(frozen=True)
class _Axes:
    """Pixel coordinates of steps and values."""

    last: int
    bottom: float
    top: float

    @staticmethod
    def around(curves: Sequence[Curve], last: int, level: float | None) -> _Axes:
        values = [value for curve in curves for _, value in curve.points]
        values += [value for curve in curves for _, *ends in curve.band for value in ends]
        values += [] if level is None else [level]
        room = 0.06 * (max(values) - min(values) or abs(values[0]) or 1.0)
        return _Axes(last, min(values) - room, max(values) + room)

    def x(self, step: float) -> float:
        return LEFT + step / self.last * (WIDTH - RIGHT - LEFT)

    def y(self, value: float) -> float:
        return FLOOR - (value - self.bottom) / (self.top - self.bottom) * (FLOOR - TOP)

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{self.x(step):.1f},{self.y(value):.1f}" for step, value in points)


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most ``POINTS`` points, each the mean of neighbours."""
    size = -(-len(points) // POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size or 1)]
    return [(fmean(step for step, _ in group), fmean(value for _, value in group)) for group in groups]


def _drawn(curve: Curve, colour: str, axes: _Axes, height: float | None) -> list[str]:
    """A curve, its band, its points, and its name and last value, at a height, with a thread to it."""
    parts, points, edge = [], thinned(curve.points), WIDTH - RIGHT + 10
    if len(curve.band) > 1:
        around = [(step, high) for step, _, high in curve.band] + [(step, low) for step, low, _ in reversed(curve.band)]
        parts.append(f'<polygon points="{axes.path(around)}" fill="{colour}" opacity=".16"/>')
    for step, low, high in curve.band:
        parts.append(_stroke(colour, f"M{axes.x(step):.1f} {axes.y(low):.1f}V{axes.y(high):.1f}"))
    parts.append(f'<polyline points="{axes.path(points)}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    for step, value in points if curve.dots or len(points) == 1 else ():
        parts.append(
            f'<circle cx="{axes.x(step):.1f}" cy="{axes.y(value):.1f}" r="2.6" fill="{colour}">'
            f"<title>{escape(curve.name)}, step {step:g}: {value:.4g}</title></circle>"
        )
    if height is None:
        return parts
    step, value = points[-1]
    parts.append(_stroke(colour, f"M{axes.x(step) + 4:.1f} {axes.y(value):.1f}L{edge - 3} {height:.1f}"))
    text = escape(f"{curve.name} {curve.points[-1][1]:.4g}")
    parts.append(f'<text x="{edge}" y="{height + 4:.1f}" style="fill:{colour}">{text}</text>')
    return parts


def _grid(axes: _Axes) -> list[str]:
    parts = []
    for step in sorted({round(tick) for tick in _ticks(0, axes.last)}):
        x = axes.x(step)
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{FLOOR}"/>')
        parts.append(_faint(x, FLOOR + 16, f"{step}", "middle"))
    for tick in _ticks(axes.bottom, axes.top):
        parts += [_across("axis", axes.y(tick)), _faint(LEFT - 6, axes.y(tick) + 4, f"{tick:g}", "end")]
    return [*parts, _faint((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "step", "middle")]


def _across(css_class: str, y: float) -> str:
    return f'<line class="{css_class}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'


def _stroke(colour: str, path: str) -> str:
    return f'<path class="thread" d="{path}" stroke="{colour}"/>'


def _faint(x: float, y: float, text: str, anchor: str) -> str:
    """A text in the colour of the axes."""
    return f'<text class="faint" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _ticks(low: float, high: float) -> list[float]:
    """At most seven round numbers within a range."""
    step = 10 ** math.floor(math.log10((high - low) / 3))
    step = next(step * m for m in (1, 2, 5, 10) if (high - low) / (step * m) <= 6)
    return [round(k * step, 10) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
