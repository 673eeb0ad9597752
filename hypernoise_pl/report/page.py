"""The report of a comparison: one HTML file that needs no network, the same in Markdown, and ``summary.json``."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import Image

from hypernoise_pl.report.charts import Line, against_compute
from hypernoise_pl.report.results import Features, Results
from hypernoise_pl.report.rows import ImageRow
from hypernoise_pl.report.summary import summary
from hypernoise_pl.report.tables import Table, markdown, refinement, reward_hacking, table
from hypernoise_pl.report.template import render
from hypernoise_pl.report.verdict import verdict
from hypernoise_pl.system.files import write_text

TITLE = "Test-time search and hypernetwork, compared"
SHOWN = 8  # prompts in the picture grid
THUMBNAIL = 192  # pixels a side of its pictures, at most

REPORT, SO_FAR = "report.html", "summary-so-far.json"  # the second is of an unfinished comparison


@dataclass(frozen=True)
class State:
    """The progress of an unfinished comparison.

    Args:
        done: finished units of work.
        units: all units of work.
        rows: label of each begun row -> its finished units and all its units.
        left: number of rows that are not begun.
        written: date and time.
        reload: seconds between two reloads of an open page.
    """

    done: int
    units: int
    rows: Mapping[str, tuple[int, int]]
    left: int
    written: str
    reload: int


def write_report(
    results: Results,
    labels: Sequence[str],
    base: str,
    description: str,
    features: Features | None = None,
    judged_by: str | None = None,
) -> dict[str, Any]:
    """Write ``results.parquet``, ``summary.json``, ``report.md`` and ``report.html`` of a finished comparison.

    Args:
        results: run folder.
        labels: rows of the table, in order.
        base: label of the row that gains are against.
        description: run, prompts and device in a line.
        features: function from images [M, 3, H, W] to features [M, D], for KID; None to leave it out.
        judged_by: judge and its models in a sentence; None without a judge.

    Returns:
        The summary.
    """
    rows = results.rows(labels)
    results.finish([row for own in rows.values() for row in own])
    stats = {label: results.image_stats(own, features) for label, own in rows.items()}
    record = summary(rows, base, stats, description + devices_of(rows), judged_by)
    write_text(results.folder / "summary.json", json.dumps(record, indent=1) + "\n")
    sections = sections_of(record, rows)
    text = f"# Comparison\n\n{verdict(record)}\n\n{record['description']}\n\n{markdown(sections['methods'])}"
    if len(sections["refinement"]) > 1:
        text += f"\nSearches from refined noise, with the same budget:\n\n{markdown(sections['refinement'])}"
    if len(sections["reward_hacking"]) > 1:
        text += f"\nGains in standard deviations of the base's scores:\n\n{markdown(sections['reward_hacking'])}"
    write_text(results.folder / "report.md", text)
    write_text(results.folder / REPORT, page(record, sections, list(grid_of(results, rows, base))))
    (results.folder / SO_FAR).unlink(missing_ok=True)
    return record


def devices_of(rows: Mapping[str, Sequence[ImageRow]]) -> str:
    """A warning that seconds of several devices do not compare; empty for one device."""
    devices = sorted({row.cost.device for own in rows.values() for row in own})
    if len(devices) <= 1:
        return ""
    return f"; seconds are of several devices ({', '.join(devices)}) and do not compare: count evaluations instead"


def sections_of(record: Mapping[str, Any], rows: Mapping[str, Sequence[ImageRow]]) -> dict[str, Table]:
    """The tables of a report: ``methods``, ``refinement`` and ``reward_hacking``."""
    return {"methods": table(record), "refinement": refinement(rows), "reward_hacking": reward_hacking(record)}


def page(
    record: Mapping[str, Any], sections: Mapping[str, Table], grid: Sequence[Any], state: State | None = None
) -> str:
    """The page as HTML.

    Args:
        record: summary.
        sections: its tables.
        grid: pictures, as of ``grid_of``.
        state: progress of an unfinished comparison; None of a finished one.
    """
    methods, base = record["methods"], record["methods"][record["base"]]
    by_method: dict[str, list[Mapping[str, Any]]] = {}
    for figures in methods.values():
        if figures["gain"] is not None:
            by_method.setdefault(figures["method"], []).append(figures)
    return render(
        "page.html",
        title=TITLE,
        verdict=verdict(record),
        description=record["description"],
        judged_by=record["judged_by"],
        table=sections["methods"],
        trained={figures["label"] for figures in methods.values() if figures["trained"]},
        quality="the judge's mean over tags" if record["gain_by"] == "judge" else "the weighted reward",
        base=base["label"],
        charts=[Markup(chart) for chart in _charts(by_method)],
        tags=list(base["judge"]),
        bars={name: max(own, key=lambda figures: figures["nfe"]) for name, own in by_method.items()},
        base_judge=base["judge"],
        refinement=sections["refinement"],
        reward_hacking=sections["reward_hacking"],
        labels=[figures["label"] for figures in methods.values()],
        judged=bool(base["judge"]),
        unscored=any(figures["unscored_images"] for figures in methods.values()),
        grid=grid,
        state=state,
    )


def empty_page(text: str, description: str, state: State) -> str:
    """The page of a comparison without figures as HTML."""
    return render("page.html", title=TITLE, verdict=text, description=description, state=state)


def _charts(by_method: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Gain against network evaluations and against seconds, a line per method."""
    costs = {
        "network evaluations an image, forward and backward": lambda figures: figures["nfe"] + figures["nfe_backward"],
        "seconds an image": lambda figures: figures["seconds_per_image"],
    }
    return [
        against_compute(
            [
                Line(
                    name,
                    own[0]["search"] or "",
                    own[0]["trained"],
                    sorted((cost(figures), figures["gain"]) for figures in own),
                )
                for name, own in by_method.items()
            ],
            across,
            "gain",
        )
        for across, cost in (costs.items() if by_method else ())
    ]


def grid_of(results: Results, rows: Mapping[str, Sequence[ImageRow]], base: str) -> Iterator[tuple[str, list[Any]]]:
    """The first images of a few prompts, of all tags in turn, by every method."""
    by_tag: dict[str, list[int]] = {}
    for index, row in enumerate(rows[base]):
        if row.seed == 0:
            by_tag.setdefault(row.tag, []).append(index)
    turns = [index for turn in range(SHOWN) for own in by_tag.values() for index in own[turn : turn + 1]]
    for index in turns[:SHOWN]:
        cells = [
            {
                "source": _data(results.folder / own[index].image),
                "reward": f"{own[index].reward:.2f}",
                "right": None if own[index].judge is None else bool(own[index].judge),
            }
            for own in rows.values()
        ]
        yield rows[base][index].text, cells


def _data(file: Path) -> str:
    buffer = io.BytesIO()
    picture = Image.open(file).convert("RGB")
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
