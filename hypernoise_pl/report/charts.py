"""Quality against compute as SVG text, coloured by the page it stands in; every line carries its own name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

COLOURS = ("#3b7dd8", "#e07b39", "#3a9d6a", "#b65fc4", "#b8901c", "#d1495b", "#4aa3a2", "#8a6f4d", "#6f6fd8")
GREY = "#7a8a99"  # what does not search
WIDTH, HEIGHT = 660, 400  # it grows with the names
LEFT, RIGHT, TOP, BOTTOM = 46, 168, 14, 42
APART = 13.5  # between two names


@dataclass(frozen=True)
class Line:
    """A method's points, cost and quality.

    Args:
        name: written beside its last point.
        kind: what shares a colour; empty for what does not search.
        trained: whether it starts from what was trained; its points are diamonds and its line is thick.
        points: cost above 0, and quality.
    """

    name: str
    kind: str
    trained: bool
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Axes:
    """From figures to places in the picture; cost on a log axis."""

    low: float
    high: float
    bottom: float
    top: float
    height: float

    @staticmethod
    def around(lines: Sequence[Line]) -> Axes:
        """Axes that hold every point, and zero."""
        costs = [cost for line in lines for cost, _ in line.points]
        values = [0.0, *(value for line in lines for _, value in line.points)]
        margin = 0.06 * (max(values) - min(values) or 1.0)
        height = max(HEIGHT, TOP + APART * len(lines))
        return Axes(min(costs), max(costs), min(values) - margin, max(values) + margin, height)

    def x(self, cost: float) -> float:
        """Pixels from the left."""
        floor, ceiling = math.log10(self.low) - 0.08, math.log10(self.high) + 0.08
        return LEFT + (math.log10(cost) - floor) / (ceiling - floor) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        return self.floor - (value - self.bottom) / (self.top - self.bottom) * (self.floor - TOP)

    @property
    def floor(self) -> float:
        """Pixels from the top to where the picture's lowest value lies."""
        return self.height - BOTTOM


def against_compute(lines: Sequence[Line], across: str, upward: str) -> str:
    """An SVG of all lines.

    Args:
        lines: methods, with a point at least each.
        across: what cost is.
        upward: what quality is.
    """
    axes = Axes.around(lines)
    kinds = list(dict.fromkeys(line.kind for line in lines if line.kind))
    colours = {kind: COLOURS[place % len(COLOURS)] for place, kind in enumerate(kinds)} | {"": GREY}
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {axes.height:.0f}" role="img" aria-label="{escape(upward)} by {escape(across)}">'
    ]
    parts += _grid(axes, across, upward)
    heights = spread([axes.y(line.points[-1][1]) for line in lines], axes.height)
    for line, height in zip(lines, heights, strict=True):
        parts += _drawn(line, axes, colours[line.kind], height)
    return "".join(parts) + "</svg>"


def _drawn(line: Line, axes: Axes, colour: str, height: float) -> list[str]:
    """A line, its points, and its name with a thread to it."""
    places = [(axes.x(cost), axes.y(value)) for cost, value in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    width = 2.5 if line.trained else 1.3
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>']
    for (x, y), (cost, value) in zip(places, line.points, strict=True):
        turn = f' transform="rotate(45 {x:.1f} {y:.1f})"' if line.trained else ""
        parts.append(
            f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" rx="{0 if turn else 4}" fill="{colour}"{turn}>'
            f"<title>{escape(line.name)}: {cost:.4g}, {value:+.3f}</title></rect>"
        )
    (x, y), edge = places[-1], WIDTH - RIGHT + 10
    parts.append(f'<path class="thread" d="M{x + 5:.1f} {y:.1f}L{edge - 3} {height:.1f}" stroke="{colour}"/>')
    parts.append(f'<text x="{edge}" y="{height + 4:.1f}" style="fill:{colour}">{escape(line.name)}</text>')
    return parts


def _grid(axes: Axes, across: str, upward: str) -> list[str]:
    parts = []
    for tick in _decades(axes.low, axes.high):
        x = axes.x(tick)
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{axes.floor:.1f}"/>')
        parts.append(faint(x, axes.floor + 16, f"{tick:g}", "middle"))
    for tick in ticks(axes.bottom, axes.top):
        y = axes.y(tick)
        parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(faint(LEFT - 6, y + 4, f"{tick:g}", "end"))
    parts.append(faint((LEFT + WIDTH - RIGHT) / 2, axes.height - 6, across, "middle"))
    parts.append(faint(LEFT + 6, TOP + 12, upward, "start"))
    return parts


def spread(wanted: Sequence[float], height: float) -> list[float]:
    """Heights near those wanted, in the same order from top to bottom, no two too near."""
    order = sorted(range(len(wanted)), key=lambda place: wanted[place])
    found, last = [0.0] * len(wanted), TOP - APART + 4
    for place in order:
        last = found[place] = max(wanted[place], last + APART)
    last = height - 4 + APART
    for place in reversed(order):
        last = found[place] = min(found[place], last - APART)
    return found


def faint(x: float, y: float, text: str, anchor: str) -> str:
    """A text in the axes' colour."""
    return f'<text class="faint" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _decades(low: float, high: float) -> list[float]:
    """1, 2, 5 of every decade in reach; only its 1 where that is crowded."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = [m * 10.0**p for p in powers for m in (1, 2, 5) if low * 0.99 <= m * 10.0**p <= high * 1.01]
    coarse = [tick for tick in fine if math.isclose(math.log10(tick), round(math.log10(tick)), abs_tol=1e-9)]
    return fine if len(fine) <= 8 else coarse


def ticks(low: float, high: float) -> list[float]:
    """Round numbers within a range, seven at most."""
    step = 10 ** math.floor(math.log10((high - low) / 3))
    step = next(step * m for m in (1, 2, 5, 10) if (high - low) / (step * m) <= 6)
    return [round(k * step, 10) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
