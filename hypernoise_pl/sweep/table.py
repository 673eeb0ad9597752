"""A sweep's points as lines of text, the best first."""

from __future__ import annotations

from collections.abc import Sequence

from hypernoise_pl.sweep.definition import Definition
from hypernoise_pl.sweep.results import Point, interval
from hypernoise_pl.sweep.space import labels, short

SHOWN = 12  # rows in a terminal


def ordered(found: Sequence[Point], definition: Definition) -> list[Point]:
    """Complete ones first, by the first objective; then those that were pruned, by how far they came."""
    name, direction = next(iter(definition.objectives.items()))
    sign = -1.0 if direction == "maximize" else 1.0

    def rank(point: Point) -> tuple[bool, int, float]:
        mean = point.mean(name)
        steps = -sum(max(curve, default=0) for curve in point.curves)
        complete = point.state == "complete"
        return not complete, 0 if complete else steps, float("inf") if mean is None else sign * mean

    return sorted(found, key=rank)


def rows(found: Sequence[Point], definition: Definition, whole: bool = True) -> list[list[str]]:
    """A head, and a row a point.

    Args:
        found: points.
        definition: of the sweep.
        whole: whether each seed has its figure.
    """
    names = [each.name for each in definition.dimensions]
    several, called = definition.seeds > 1, labels([*names, *definition.objectives])
    head = ["trial", *(called[name] for name in names)]
    for figure in definition.objectives:
        head += [
            called[figure],
            *(["95 % over seeds"] if several else []),
            *(["each seed"] if several and whole else []),
        ]
    lines = [[*head, "steps", "time", "state"]]
    for point in ordered(found, definition):
        cells = [str(point.number), *(short(point.values[name]) if name in point.values else "-" for name in names)]
        for figure in definition.objectives:
            mean, values = point.mean(figure), point.figures(figure)
            cells.append("-" if mean is None else f"{mean:.4g}")
            if several:
                width = interval(values) if point.state == "complete" else None
                cells.append("-" if width is None else f"{width[0]:.3g} to {width[1]:.3g}")
                if whole:
                    cells.append(", ".join(f"{value:.4g}" for value in values) or "-")
        steps = " + ".join(f"{max(curve):,}" for curve in point.curves if curve) or "0"
        lines.append([*cells, steps, f"{point.seconds / 60:.1f} min", point.state])
    return lines


def table(found: Sequence[Point], definition: Definition) -> str:
    """The table in plain text; of many points the best."""
    every = rows(found, definition, whole=False)
    shown = every[: SHOWN + 1]
    widths = [max(len(line[column]) for line in shown) for column in range(len(shown[0]))]
    lines = ["  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)) for line in shown]
    lines.insert(1, "-" * len(lines[0]))
    more = len(every) - len(shown)
    return "\n".join([*lines, *([f"and {more} more, in the report"] if more else [])])
