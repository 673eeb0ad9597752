"""Points of a hyper-parameter search, drawn by matplotlib: parallel coordinates, and two figures against each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hypernoise_pl.report.svg import GREY, as_svg, new_figure, style

WIDTH, HEIGHT = 900, 300
TOP, BOTTOM, SIDE = 30, 22, 70  # margins of the parallel coordinates
BEST, PLAIN = "#d1495b", "#3b7dd8"


@dataclass(frozen=True)
class Axis:
    """One axis of parallel coordinates.

    Args:
        name: name above the axis.
        values: values from bottom to top, of a list; empty for a range.
        ends: ends of a range; None for those of the points.
        log: whether the range has a logarithmic scale.
    """

    name: str
    values: Sequence[str] = ()
    ends: tuple[float, float] | None = None
    log: bool = False


@dataclass(frozen=True)
class Mark:
    """A point.

    Args:
        name: text under the pointer.
        places: axis name -> value; a text on an axis with a list of values.
        best: whether the point is among the best; these have a colour of their own.
        whole: whether the point ran to its end; the line of others is thin.
    """

    name: str
    places: Mapping[str, str | float]
    best: bool = False
    whole: bool = True


@style()
def parallel(axes: Sequence[Axis], marks: Sequence[Mark]) -> str:
    """An SVG with an axis for each setting and figure, and a line for each point; empty without points.

    Args:
        axes: at least two axes.
        marks: points; those without a value on some axis are left out.
    """
    shown = [mark for mark in marks if all(axis.name in mark.places for axis in axes)]
    if not shown:
        return ""
    figure, plot = new_figure(WIDTH, HEIGHT)
    figure.subplots_adjust(SIDE / WIDTH, BOTTOM / HEIGHT, 1 - SIDE / WIDTH, 1 - TOP / HEIGHT)
    plot.set_axis_off()
    plot.set_xlim(0, len(axes) - 1)
    plot.set_ylim(0, 1)
    scales = [_Scale.of(axis, [mark.places[axis.name] for mark in shown]) for axis in axes]
    for index, (axis, scale) in enumerate(zip(axes, scales, strict=True)):
        last = index == len(axes) - 1
        plot.axvline(index, color=GREY, linewidth=0.8, clip_on=False)
        plot.text(index, 1.06, axis.name, color=GREY, ha="left" if index == 0 else "right" if last else "center")
        for text, share in scale.labels():
            offset = 0.008 * (len(axes) - 1) * (1 if last else -1)
            plot.text(index + offset, share, text, color=GREY, ha="left" if last else "right", va="center", zorder=5)
    order = sorted(shown, key=lambda mark: (mark.best, mark.whole))  # the best above the others
    for index, mark in enumerate(order):
        plot.plot(
            range(len(axes)),
            [scale.share(mark.places[axis.name]) for axis, scale in zip(axes, scales, strict=True)],
            color=BEST if mark.best else PLAIN if mark.whole else GREY,
            linewidth=2.4 if mark.best else 1.3 if mark.whole else 0.7,
            alpha=1.0 if mark.best else 0.7,
            clip_on=False,
            gid=f"title-{index}",
        )
    return as_svg(figure, "parallel coordinates of all trials", [mark.name for mark in order])


@style()
def scatter(across: str, upward: str, marks: Sequence[Mark]) -> str:
    """An SVG with two figures of each point against each other, and the front of the best; empty without points."""
    shown = [mark for mark in marks if across in mark.places and upward in mark.places]
    if not shown:
        return ""
    figure, axes = new_figure(560, HEIGHT)
    figure.subplots_adjust(0.11, 0.14, 0.97, 0.95)
    axes.set_xlabel(across)
    axes.set_ylabel(upward)
    front = sorted((float(mark.places[across]), float(mark.places[upward])) for mark in shown if mark.best)
    axes.plot([x for x, _ in front], [y for _, y in front], color=BEST, linewidth=1.2)
    titles = []
    for index, mark in enumerate(shown):
        x, y = float(mark.places[across]), float(mark.places[upward])
        axes.plot([x], [y], "o", color=BEST if mark.best else PLAIN, markersize=6, gid=f"title-{index}")
        titles.append(f"{mark.name}: {x:.4g}, {y:.4g}")
    return as_svg(figure, f"{upward} by {across}", titles)


@dataclass(frozen=True)
class _Scale:
    """Heights of values on an axis, from 0 to 1."""

    values: tuple[str, ...]
    low: float
    high: float
    log: bool

    @staticmethod
    def of(axis: Axis, values: Sequence[str | float]) -> _Scale:
        if axis.values:
            return _Scale(tuple(axis.values), 0.0, 0.0, False)
        inside = values if axis.ends is None else axis.ends
        numbers = [math.log10(float(value)) if axis.log else float(value) for value in inside]
        room = 0.05 * (max(numbers) - min(numbers)) or 0.05 * abs(numbers[0]) or 1.0
        return _Scale((), min(numbers) - room, max(numbers) + room, axis.log)

    def share(self, value: str | float) -> float:
        """Height of a value."""
        if self.values:
            return (self.values.index(str(value)) + 0.5) / len(self.values)
        number = math.log10(float(value)) if self.log else float(value)
        return (number - self.low) / (self.high - self.low)

    def labels(self) -> list[tuple[str, float]]:
        """Texts of the ticks, and their heights."""
        from matplotlib.ticker import LogLocator, MaxNLocator

        if self.values:
            return [(value, self.share(value)) for value in self.values]
        if self.log:
            ticks = LogLocator(subs=(1, 2, 5)).tick_values(10**self.low, 10**self.high)
        else:
            ticks = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(self.low, self.high)
        heights = [(f"{tick:g}", self.share(float(tick))) for tick in ticks if not self.log or tick > 0]
        return [(text, height) for text, height in heights if 0 <= height <= 1]
