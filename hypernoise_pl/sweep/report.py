"""The report of a sweep: one HTML file that needs no network, and figures for programs."""

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
from hypernoise_pl.sweep.results import SUMMARY, Point, as_json, best, command_of, points, summary
from hypernoise_pl.sweep.space import labels, short, words
from hypernoise_pl.sweep.table import ordered, rows
from hypernoise_pl.system.files import write_text

PAGE = "report.html"
NAMED = 6  # curves with a name
PICTURES = 3  # trials whose pictures are shown


def write_report(definition: Definition, study: Study, folder: Path, base: Path) -> None:
    """Write ``summary.json`` and ``report.html`` of what there is so far, whole or not at all."""
    found = points(study, definition, folder)
    record = summary(definition, found, study, folder, base)
    write_text(folder / SUMMARY, as_json(record))
    chosen = best(found, definition, study)
    write_text(folder / PAGE, _page(definition, found, chosen, record["importance"], base, record["finished"]))


def verdict(definition: Definition, found: Sequence[Point], chosen: Sequence[Point]) -> str:
    """What was found, in a sentence."""
    ended = {
        state: sum(point.state == state for point in found) for state in ("complete", "pruned", "failed", "running")
    }
    counts = ", ".join(f"{count} {state}" for state, count in ended.items() if count)
    counted = f"{len(found)} of {definition.points} trials begun: {counts or 'none has ended'}."
    if not chosen:
        return counted
    if len(definition.objectives) > 1:
        return f"{counted} {len(chosen)} of them are on the Pareto front."
    [name] = definition.objectives
    return (
        f"{counted} The best is trial {chosen[0].number}, {name} {chosen[0].mean(name):.4g}: {words(chosen[0].values)}."
    )


def _page(
    definition: Definition,
    found: Sequence[Point],
    chosen: Sequence[Point],
    important: dict[str, float],
    base: Path,
    finished: bool,
) -> str:
    first, names = next(iter(definition.objectives)), list(definition.objectives)
    axes = _axes(definition)
    marks = [_mark(point, definition, chosen) for point in found]
    return render(
        "sweep.html",
        title=f"Sweep {definition.name}",
        running=not finished,
        verdict=verdict(definition, found, chosen),
        description=definition.description,
        commands=[command_of(point, definition, base) for point in chosen[:PICTURES]],
        table=rows(found, definition),
        folders=[f"trials/{point.number:04d}/seed-0/live.html" for point in ordered(found, definition)],
        best={str(point.number) for point in chosen},
        seeds=definition.seeds,
        objectives=names,
        importance=important,
        front=Markup(scatter(axes[-1].name, axes[-2].name, [m for m in marks if m.whole])) if len(names) > 1 else "",
        parallel=Markup(parallel(axes, marks)),
        figure=first,
        curves=Markup(_curves(definition, found, first)),
        pictures=[(point.number, picture) for point in chosen[:PICTURES] if (picture := _picture(point))],
        definition=definition.as_yaml(),
    )


def _axes(definition: Definition) -> list[Axis]:
    settings, called = [], labels([*(each.name for each in definition.dimensions), *definition.objectives])
    for each in definition.dimensions:
        ends = None if each.listed else (each.low, each.high)
        settings.append(Axis(called[each.name], [short(value) for value in each.settings or ()], ends, each.log))
    return [*settings, *(Axis(called[name]) for name in definition.objectives)]


def _mark(point: Point, definition: Definition, chosen: Sequence[Point]) -> Mark:
    called = labels([*(each.name for each in definition.dimensions), *definition.objectives])
    listed = {each.name for each in definition.dimensions if each.listed}
    places: dict[str, Any] = {
        called[name]: short(value) if name in listed else value for name, value in point.values.items()
    }
    places |= {called[name]: mean for name in definition.objectives if (mean := point.mean(name)) is not None}
    return Mark(
        f"trial {point.number}, {point.state}: {words(places)}", places, point in chosen, point.state == "complete"
    )


def _curves(definition: Definition, found: Sequence[Point], name: str) -> str:
    shown = [point for point in ordered(found, definition) if point.curves and point.curves[0]]
    curves = []
    for place, point in enumerate(shown):
        along = [(float(step), figures[name]) for step, figures in sorted(point.curves[0].items())]
        named = place < NAMED and point.state == "complete"
        curves.append(Curve(f"trial {point.number}" if named else "", along, grey=not named, dots=True))
    last = max((max(point.curves[0]) for point in shown), default=1)
    return over_steps(name, [*(c for c in curves if c.grey), *(c for c in curves if not c.grey)], last)


def _picture(point: Point) -> str:
    """The newest picture of a trial's first fit, within the page; empty if there is none."""
    files = sorted((point.folder / "seed-0" / "images").glob("*.png"))
    return "data:image/png;base64," + base64.b64encode(files[-1].read_bytes()).decode() if files else ""
