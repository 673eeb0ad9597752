"""``live.html``: curves, pictures and signs of reward hacking of a fit, from the files of its run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from hypernoise_pl.metrics.intervals import in_words
from hypernoise_pl.report.history import TEST, VALIDATION, History
from hypernoise_pl.report.live_charts import charts_of
from hypernoise_pl.report.template import render

PAGE = "live.html"
RELOAD = 10  # seconds between two reloads of an open page
PICTURES = 60  # most validations of the slider


@dataclass(frozen=True)
class RunInfo:
    """The texts of the page.

    Args:
        about: run in a line.
        trained: label of the trained method.
        state: whether the run goes on, has ended or was stopped, in a sentence.
        running: whether the page reloads.
        total: steps of the whole run; None if unknown.
        config: resolved configuration as YAML; empty without one.
        written: date and time.
    """

    about: str
    trained: str
    state: str
    running: bool
    total: int | None
    config: str
    written: str


def live_page(history: History, info: RunInfo) -> str:
    """The page as HTML, with all curves; pictures are files of the run folder, by relative paths."""
    validations, tests = history.of(VALIDATION), history.of(TEST)
    groups = {
        name: [Markup(chart) for chart in charts if chart] for name, charts in charts_of(history, info.total).items()
    }
    pictures = [row for row in validations if row.get("picture")]
    return render(
        "live.html",
        info=info,
        reload=RELOAD,
        groups={name: charts for name, charts in groups.items() if charts},
        pictures=[{"step": row["step"], "file": row["picture"]} for row in _spread_out(pictures)],
        left_out=max(0, len(pictures) - PICTURES),
        test=tests[-1] if tests else None,
        signs=list(validations[-1].get("signs", {}).values()) if validations else [],
        table=_table(validations),
    )


def _spread_out(rows: Sequence[Any]) -> list[Any]:
    """At most ``PICTURES`` rows, evenly spaced, with the last."""
    if len(rows) <= PICTURES:
        return list(rows)
    return [rows[round(index * (len(rows) - 1) / (PICTURES - 1))] for index in range(PICTURES)]


def _table(validations: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The newest validation and, with a judge, the best one."""
    if not validations:
        return []
    judged = [row for row in validations if row["gain"] is not None]
    best = max(judged, key=lambda row: row["gain"], default=None)
    names = list(validations[-1]["deviations"])
    head = ["validation", "gain, judge", "95 %", "gain, reward", "95 %"]
    table = [[*head, *(f"{name}, sd" for name in names), "diversity"]]
    for row in [validations[-1], *([best] if best is not None and best is not validations[-1] else [])]:
        which = "newest" if row is validations[-1] else "best by the judge"
        table.append([
            f"step {row['step']}, {which}",
            _number(row["gain"], "+.3f"),
            in_words(row["interval"]),
            _number(row["reward_gain"], "+.3f"),
            in_words(row["reward_interval"]),
            *(_number(row["deviations"].get(name), "+.2f") for name in names),
            _number(row["diversity"], ".0%"),
        ])  # fmt: skip
    return table


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"
