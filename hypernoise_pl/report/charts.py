"""Quality against compute, drawn by matplotlib; every line has its name beside its last point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypernoise_pl.report.svg import COLOURS, GREY, as_svg, new_figure, style

WIDTH, HEIGHT = 660, 400  # pixels; the height grows with the number of names
LEFT, RIGHT, TOP, BOTTOM = 58, 168, 14, 46  # margins
APART = 13.5  # pixels between two names


@dataclass(frozen=True)
class Line:
    """Points of a method.

    Args:
        name: name beside the last point.
        group: methods of one group share a colour; empty for a method that does not search.
        trained: whether the method starts from the adapter: diamonds and a thick line.
        points: cost above 0, and quality.
    """

    name: str
    group: str
    trained: bool
    points: Sequence[tuple[float, float]]


@style()
def against_compute(lines: Sequence[Line], across: str, upward: str, paper: str | None = None) -> str:
    """An SVG of all lines, cost on a logarithmic axis.

    Args:
        lines: lines with at least one point.
        across: name of the cost.
        upward: name of the quality.
        paper: background colour; None for a transparent one.
    """
    height = max(HEIGHT, TOP + BOTTOM + APART * len(lines))
    figure, axes = new_figure(WIDTH, height)
    figure.subplots_adjust(LEFT / WIDTH, BOTTOM / height, 1 - RIGHT / WIDTH, 1 - TOP / height)
    axes.set_xscale("log")
    axes.set_xlabel(across)
    axes.set_ylabel(upward)
    axes.axhline(0, color=GREY, linewidth=0.8)
    groups = dict.fromkeys(line.group for line in lines if line.group)
    colours = {group: COLOURS[index % len(COLOURS)] for index, group in enumerate(groups)} | {"": GREY}
    titles: list[str] = []
    for line in lines:
        _draw(axes, line, colours[line.group], titles)
    _ticks(axes, [cost for line in lines for cost, _ in line.points])
    _names(axes, lines, [colours[line.group] for line in lines])
    return as_svg(figure, f"{upward} by {across}", titles, paper)


def _draw(axes: Any, line: Line, colour: str, titles: list[str]) -> None:
    axes.plot(*zip(*line.points, strict=True), color=colour, linewidth=2.4 if line.trained else 1.2)
    for cost, value in line.points:
        marker = "D" if line.trained else "o"
        axes.plot([cost], [value], marker, color=colour, markersize=6, gid=f"title-{len(titles)}")
        titles.append(f"{line.name}: {cost:.4g}, {value:+.3f}")


def _ticks(axes: Any, costs: Sequence[float]) -> None:
    """1, 2 and 5 of every decade, with plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xlim(min(costs) * 0.83, max(costs) * 1.2)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(costs) < 500 * min(costs) else (1,)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))


def _names(axes: Any, lines: Sequence[Line], colours: Sequence[str]) -> None:
    """Names at the right, none above another, each with a thread to its last point."""
    height = axes.figure.get_figheight() * 72
    inside = height - TOP - BOTTOM
    to_pixels = axes.transData.transform
    scale = 72 / axes.figure.dpi
    wanted = [height - to_pixels(line.points[-1])[1] * scale for line in lines]
    for line, colour, y in zip(lines, colours, spread(wanted, height, APART, TOP), strict=True):
        axes.annotate(
            line.name,
            xy=line.points[-1],
            xytext=(1 + 10 / (WIDTH - LEFT - RIGHT), 1 - (y - TOP) / inside),
            textcoords="axes fraction",
            va="center",
            color=colour,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "alpha": 0.6},
            annotation_clip=False,
        )


def spread(wanted: Sequence[float], height: float, apart: float, top: float) -> list[float]:
    """Heights near the wanted ones, from top to bottom in the same order, with a distance between each two."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    result, last = [0.0] * len(wanted), top - apart + 4
    for index in order:
        last = result[index] = max(wanted[index], last + apart)
    last = height - 4 + apart
    for index in reversed(order):
        last = result[index] = min(result[index], last - apart)
    return result
