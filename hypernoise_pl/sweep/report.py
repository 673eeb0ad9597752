"""Writes the report of a sweep: a self-contained HTML page, and its figures as JSON."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from optuna.study import Study

from hypernoise_pl.report.curves import Curve, over_steps
from hypernoise_pl.report.parallel import Axis, Mark, parallel, scatter
from hypernoise_pl.report.template import render
from hypernoise_pl.sweep.definition import Definition
from hypernoise_pl.sweep.plan import TRIALS
from hypernoise_pl.sweep.results import (
    SUMMARY,
    Point,
    as_json,
    best_points,
    fit_command,
    read_points,
    summarise,
)
from hypernoise_pl.sweep.table import ranked, table_rows
from hypernoise_pl.sweep.values import describe, short_names, short_value
from hypernoise_pl.system.files import write_text

PAGE = "report.html"
MAX_NAMED_CURVES = 6
MAX_SHOWN_TRIALS = 3  # best trials whose command and image the page shows


def write_report(definition: Definition, study: Study, folder: Path, base: Path) -> None:
    """Write ``summary.json`` and ``report.html`` of the points so far; both files are replaced atomically."""
    points = read_points(study, definition, folder)
    record = summarise(definition, points, study, folder, base)
    write_text(folder / SUMMARY, as_json(record))
    best = best_points(points, definition, study)
    write_text(folder / PAGE, _page(definition, points, best, record["importance"], base, record["finished"]))


def verdict(definition: Definition, points: Sequence[Point], best: Sequence[Point]) -> str:
    """The number of trials by state and the best trial, in words."""
    states = {
        state: sum(point.state == state for point in points) for state in ("complete", "pruned", "failed", "running")
    }
    counts = ", ".join(f"{count} {state}" for state, count in states.items() if count)
    counted = f"{len(points)} of {definition.points} trials begun: {counts or 'none has ended'}."
    if not best:
        return counted
    if len(definition.objectives) > 1:
        return f"{counted} {len(best)} of them are on the Pareto front."
    [name] = definition.objectives
    figure, settings = best[0].mean(name), describe(best[0].values)
    return f"{counted} The best is trial {best[0].number}, {name} {figure:.4g}: {settings}."


def _page(
    definition: Definition,
    points: Sequence[Point],
    best: Sequence[Point],
    importance: dict[str, float],
    base: Path,
    finished: bool,
) -> str:
    first, names = next(iter(definition.objectives)), list(definition.objectives)
    axes = _axes(definition)
    marks = [_mark(point, definition, best) for point in points]
    return render(
        "sweep.html",
        title=f"Sweep {definition.name}",
        running=not finished,
        verdict=verdict(definition, points, best),
        description=definition.description,
        commands=[fit_command(point, definition, base) for point in best[:MAX_SHOWN_TRIALS]],
        table=table_rows(points, definition),
        folders=[f"{TRIALS}/{point.number:04d}/seed-0/live.html" for point in ranked(points, definition)],
        best={str(point.number) for point in best},
        seeds=definition.seeds,
        objectives=names,
        importance=importance,
        front=Markup(scatter(axes[-1].name, axes[-2].name, [mark for mark in marks if mark.whole]))
        if len(names) > 1
        else "",
        parallel=Markup(parallel(axes, marks)),
        figure=first,
        curves=Markup(_curves(definition, points, first)),
        pictures=[(point.number, picture) for point in best[:MAX_SHOWN_TRIALS] if (picture := _newest_picture(point))],
        definition=definition.as_yaml(),
    )


def _axes(definition: Definition) -> list[Axis]:
    axes, names = [], _axis_names(definition)
    for dimension in definition.dimensions:
        ends = None if dimension.listed else (dimension.low, dimension.high)
        values = [short_value(value) for value in dimension.settings or ()]
        axes.append(Axis(names[dimension.name], values, ends, dimension.log))
    return [*axes, *(Axis(names[name]) for name in definition.objectives)]


def _axis_names(definition: Definition) -> dict[str, str]:
    return short_names([*(dimension.name for dimension in definition.dimensions), *definition.objectives])


def _mark(point: Point, definition: Definition, best: Sequence[Point]) -> Mark:
    names = _axis_names(definition)
    listed = {dimension.name for dimension in definition.dimensions if dimension.listed}
    values: dict[str, Any] = {
        names[name]: short_value(value) if name in listed else value for name, value in point.values.items()
    }
    values |= {names[name]: mean for name in definition.objectives if (mean := point.mean(name)) is not None}
    return Mark(
        f"trial {point.number}, {point.state}: {describe(values)}", values, point in best, point.state == "complete"
    )


def _curves(definition: Definition, points: Sequence[Point], name: str) -> str:
    shown = [point for point in ranked(points, definition) if point.curves and point.curves[0]]
    curves = []
    for index, point in enumerate(shown):
        values = [(float(step), figures[name]) for step, figures in sorted(point.curves[0].items())]
        named = index < MAX_NAMED_CURVES and point.state == "complete"
        curves.append(Curve(f"trial {point.number}" if named else "", values, grey=not named, dots=True))
    last = max((max(point.curves[0]) for point in shown), default=1)
    return over_steps(name, sorted(curves, key=lambda curve: not curve.grey), last)


def _newest_picture(point: Point) -> str:
    """The newest picture of a trial's first fit as a data URL; empty if there is none."""
    files = sorted((point.folder / "seed-0" / "images").glob("*.png"))
    return "data:image/png;base64," + base64.b64encode(files[-1].read_bytes()).decode() if files else ""
