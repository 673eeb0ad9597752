"""``sweep --dry-run``: prints the trials, the time and the storage of a sweep without starting it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypernoise_pl.callbacks.progress import spoken
from hypernoise_pl.cli.command_table import PROGRAM
from hypernoise_pl.config.options import Options
from hypernoise_pl.runs.step_time import known_step_time
from hypernoise_pl.sweep.base import fit_steps
from hypernoise_pl.sweep.definition import Definition
from hypernoise_pl.sweep.folder import DEFINITION
from hypernoise_pl.sweep.results import SUMMARY
from hypernoise_pl.sweep.space import grid_point
from hypernoise_pl.sweep.study import JOURNAL, shown_url
from hypernoise_pl.sweep.values import describe


def dry_run(
    definition: Definition, full: dict[str, Any], folder: Path, url: str | None, options: Options
) -> dict[str, Any]:
    """Print the trials, the time and the storage of a sweep.

    Args:
        definition: definition of the sweep.
        full: configuration of a fit with all defaults.
        folder: folder of the sweep.
        url: URL of the storage; None for the journal.
        options: flags of the command.

    Returns:
        The figures that ``--json`` prints.
    """
    steps, fits = fit_steps(full), definition.points * definition.seeds
    sampler, pruner = definition.sampler_choice.name, definition.pruner_choice.name
    print(f"sweep: dry run, nothing is made: {definition.description}")
    rows = [
        ("trials", f"{definition.points}, by {sampler}, pruned by {pruner}"),
        ("fits", f"{fits} of {steps} steps" if steps else str(fits)),
        ("objectives", ", ".join(f"{direction} {name}" for name, direction in definition.objectives.items())),
        ("time", _estimated_time(definition, full, folder, options.workers)),
        ("run folder", f"{folder}{' (continues)' if (folder / DEFINITION).is_file() else ''}"),
        ("storage", str(folder / JOURNAL) if url is None else shown_url(url)),
    ]
    for index, dimension in enumerate(definition.dimensions):
        rows.append(("varied" if index == 0 else "", str(dimension)))
    print("\n".join(f"{name:<12} {text}" for name, text in rows))
    if sampler == "grid":
        for number in range(definition.points):
            print(f"trial {number:<6} {describe(grid_point(definition.dimensions, number))}")
    print(f"nothing is missing; {PROGRAM} sweep {options.name} begins")
    return {"trials": definition.points, "fits": fits, "steps": steps, "folder": str(folder)}


def _estimated_time(definition: Definition, full: dict[str, Any], folder: Path, workers: int) -> str:
    """The longest time of a sweep in words, from its own fits, or from earlier runs of the same work."""
    fits = definition.points * definition.seeds
    seconds, source = _seconds_per_fit(full, folder)
    if seconds is None:
        return f"unknown: no run here did the same work; {PROGRAM} fit prints its time after the first steps"
    pruned = "" if definition.pruner_choice.name == "none" else ", less with pruning"
    return f"{spoken(seconds * fits / workers)} with --workers {workers}{pruned}; {spoken(seconds)} a fit, by {source}"


def _seconds_per_fit(full: dict[str, Any], folder: Path) -> tuple[float | None, str]:
    """Seconds of a fit and the source of this figure; None if no run tells it."""
    try:
        trials = json.loads((folder / SUMMARY).read_text())["trials"]
        seconds, done = sum(trial["seconds"] for trial in trials), sum(sum(trial["steps"]) for trial in trials)
    except FileNotFoundError:
        seconds, done = 0.0, 0
    steps = fit_steps(full)
    if steps is None:
        return None, ""
    if done:
        return steps * seconds / done, "this sweep's own fits"
    known = known_step_time(full)
    return (None, "") if known is None else (steps * known[0], f"{known[1]}, without validations")
