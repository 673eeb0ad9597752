"""The report of a sweep."""

from __future__ import annotations

from pathlib import Path

from optuna.study import Study

from hypernoise_pl.run_folder import write
from hypernoise_pl.sweep.definition import Definition
from hypernoise_pl.sweep.results import as_json, points, summary


def write_report(definition: Definition, study: Study, folder: Path, base: Path) -> None:
    """Write ``summary.json`` and ``report.html`` of what there is so far."""
    found = points(study, definition, folder)
    write(folder / "summary.json", as_json(summary(definition, found, study, folder, base)))
