"""Figures over a run's steps as SVG text, coloured by the page they stand in; every curve carries its own name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from statistics import fmean

from hypernoise_pl.report.charts import BOTTOM, COLOURS, GREY, LEFT, TOP, faint, spread, ticks

WIDTH, HEIGHT, RIGHT = 480, 220, 128
FLOOR = HEIGHT - BOTTOM
POINTS = 300  # of a curve, at most


@dataclass(frozen=True)
class Curve:
    """A figure over steps.

    Args:
        name: written beside its last point; empty for one that is not told from others.
        points: step and value.
        grey: whether it is what the others are held against.
        dots: whether each point is drawn: figures of validations are few.
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
        title: what the figures are.
        curves: at least one.
        last: step at the right end, above 0.
        level: value at which a line is drawn: what the figure should be.
        marks: steps at which an upright line is drawn, and what it says under the pointer.
    """
    shown = [curve for curve in curves if curve.points]
    if not shown:
        return ""
    place = _Place.around(shown, last, level)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)} by step">', *_grid(place)]
    if level is not None:
        parts.append(_across("level", place.y(level)))
    for step, said in marks:
        x = place.x(step)
        line = f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{FLOOR}">'
        parts.append(f"{line}<title>{escape(f'step {step:g}: {said}')}</title></line>")
    named = [curve for curve in shown if curve.name]
    heights = dict(zip(map(id, named), spread([place.y(curve.points[-1][1]) for curve in named], HEIGHT), strict=True))
    colours = iter(COLOURS * len(shown))
    for curve in shown:
        height = heights.get(id(curve))
        parts += _drawn(curve, GREY if curve.grey else next(colours), place, height)
    return "".join(parts) + "</svg>"


@dataclass(frozen=True)
class _Place:
    """From steps and values to places in the picture."""

    last: int
    bottom: float
    top: float

    @staticmethod
    def around(curves: Sequence[Curve], last: int, level: float | None) -> _Place:
        values = [value for curve in curves for _, value in curve.points]
        values += [value for curve in curves for _, *ends in curve.band for value in ends]
        values += [] if level is None else [level]
        room = 0.06 * (max(values) - min(values) or abs(values[0]) or 1.0)
        return _Place(last, min(values) - room, max(values) + room)

    def x(self, step: float) -> float:
        return LEFT + step / self.last * (WIDTH - RIGHT - LEFT)

    def y(self, value: float) -> float:
        return FLOOR - (value - self.bottom) / (self.top - self.bottom) * (FLOOR - TOP)

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{self.x(step):.1f},{self.y(value):.1f}" for step, value in points)


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """So many points as a picture can show, each the mean of its neighbours."""
    size = -(-len(points) // POINTS)
    groups = [points[place : place + size] for place in range(0, len(points), size or 1)]
    return [(fmean(step for step, _ in group), fmean(value for _, value in group)) for group in groups]


def _drawn(curve: Curve, colour: str, place: _Place, height: float | None) -> list[str]:
    """A curve, its band, its points, and its name and last value, at a height, with a thread to it."""
    parts, points, edge = [], thinned(curve.points), WIDTH - RIGHT + 10
    if len(curve.band) > 1:
        around = [(step, high) for step, _, high in curve.band] + [(step, low) for step, low, _ in reversed(curve.band)]
        parts.append(f'<polygon points="{place.path(around)}" fill="{colour}" opacity=".16"/>')
    for step, low, high in curve.band:
        parts.append(_stroke(colour, f"M{place.x(step):.1f} {place.y(low):.1f}V{place.y(high):.1f}"))
    parts.append(f'<polyline points="{place.path(points)}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    for step, value in points if curve.dots or len(points) == 1 else ():
        parts.append(
            f'<circle cx="{place.x(step):.1f}" cy="{place.y(value):.1f}" r="2.6" fill="{colour}">'
            f"<title>{escape(curve.name)}, step {step:g}: {value:.4g}</title></circle>"
        )
    if height is None:
        return parts
    step, value = points[-1]
    parts.append(_stroke(colour, f"M{place.x(step) + 4:.1f} {place.y(value):.1f}L{edge - 3} {height:.1f}"))
    text = escape(f"{curve.name} {curve.points[-1][1]:.4g}")
    parts.append(f'<text x="{edge}" y="{height + 4:.1f}" style="fill:{colour}">{text}</text>')
    return parts


def _grid(place: _Place) -> list[str]:
    parts = []
    for step in sorted({round(tick) for tick in ticks(0, place.last)}):
        x = place.x(step)
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{FLOOR}"/>')
        parts.append(faint(x, FLOOR + 16, f"{step}", "middle"))
    for tick in ticks(place.bottom, place.top):
        parts += [_across("axis", place.y(tick)), faint(LEFT - 6, place.y(tick) + 4, f"{tick:g}", "end")]
    return [*parts, faint((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "step", "middle")]


def _across(kind: str, y: float) -> str:
    return f'<line class="{kind}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'


def _stroke(colour: str, path: str) -> str:
    return f'<path class="thread" d="{path}" stroke="{colour}"/>'
