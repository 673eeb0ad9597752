"""Tables of a sweep's points, the best point first."""

from __future__ import annotations

from collections.abc import Sequence

from hypernoise_pl.report.aligned import aligned
from hypernoise_pl.sweep.definition import Definition
from hypernoise_pl.sweep.results import Point, mean_interval
from hypernoise_pl.sweep.values import short_names, short_value

MAX_ROWS = 12  # of a table in a terminal


def ranked(points: Sequence[Point], definition: Definition) -> list[Point]:
    """Complete points by the first objective, best first; then all others by their steps, most first."""
    name, direction = next(iter(definition.objectives.items()))
    sign = -1.0 if direction == "maximize" else 1.0

    def rank(point: Point) -> tuple[bool, int, float]:
        mean = point.mean(name)
        steps = -sum(max(curve, default=0) for curve in point.curves)
        complete = point.state == "complete"
        return not complete, 0 if complete else steps, float("inf") if mean is None else sign * mean

    return sorted(points, key=rank)


def table_rows(points: Sequence[Point], definition: Definition, per_seed: bool = True) -> list[list[str]]:
    """The cells of the table: a head, and one row per point.

    Args:
        points: points of the sweep.
        definition: definition of the sweep.
        per_seed: whether a column lists the figures of all seeds.
    """
    settings = [dimension.name for dimension in definition.dimensions]
    several_seeds, names = definition.seeds > 1, short_names([*settings, *definition.objectives])
    head = ["trial", *(names[setting] for setting in settings)]
    for figure in definition.objectives:
        head.append(names[figure])
        if several_seeds:
            head += ["95 % over seeds", *(["each seed"] if per_seed else [])]
    rows = [[*head, "steps", "time", "state"]]
    for point in ranked(points, definition):
        cells = [str(point.number)]
        cells += [short_value(point.values[name]) if name in point.values else "-" for name in settings]
        for figure in definition.objectives:
            mean, values = point.mean(figure), point.figures(figure)
            cells.append("-" if mean is None else f"{mean:.4g}")
            if several_seeds:
                interval = mean_interval(values) if point.state == "complete" else None
                cells.append("-" if interval is None else f"{interval[0]:.3g} to {interval[1]:.3g}")
                if per_seed:
                    cells.append(", ".join(f"{value:.4g}" for value in values) or "-")
        steps = " + ".join(f"{max(curve):,}" for curve in point.curves if curve) or "0"
        rows.append([*cells, steps, f"{point.seconds / 60:.1f} min", point.state])
    return rows


def table(points: Sequence[Point], definition: Definition) -> str:
    """The table in plain text; of many points it shows the best ones."""
    rows = table_rows(points, definition, per_seed=False)
    shown = rows[: MAX_ROWS + 1]
    more = len(rows) - len(shown)
    return aligned(shown) + (f"\nand {more} more, in the report" if more else "")
