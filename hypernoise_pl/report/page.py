"""The report of a comparison: one HTML file that needs no network, the same in Markdown, and figures for programs."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from markupsafe import Markup
from PIL import Image
from torch import Tensor

from hypernoise_pl.metrics.diversity import pairwise_distance
from hypernoise_pl.metrics.intervals import interval_in_words
from hypernoise_pl.report.charts import Line, against_compute
from hypernoise_pl.report.results import JUDGE, Results, Row
from hypernoise_pl.report.sections import lines, markdown, refinement, reward_hacking
from hypernoise_pl.report.standings import ImageStats, standings
from hypernoise_pl.report.template import render
from hypernoise_pl.system.files import write

SHOWN = 8  # prompts in the picture grid
THUMBNAIL = 192  # pixels a side of its pictures, at most
AT_ONCE = 64  # images in memory

REPORT, SO_FAR = "report.html", "summary-so-far.json"  # the second of a comparison that goes on

Features = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class UnderWay:
    """How much of a comparison is done.

    Args:
        done: units of work that are done.
        units: of them all.
        rows: label of each row that is begun and not done -> its units that are done and all of them.
        left: rows that are not begun.
        written: time of day and date.
        reload: seconds between two reloads of an open page.
    """

    done: int
    units: int
    rows: Mapping[str, tuple[int, int]]
    left: int
    written: str
    reload: int


def write_report(
    results: Results, labels: Sequence[str], base: str, about: str, features: Features | None = None
) -> dict[str, dict[str, Any]]:
    """Make ``results.parquet``, ``summary.json``, ``report.md`` and ``report.html`` of all parts of a run folder.

    Args:
        results: the folder.
        labels: the table's rows, in order.
        base: the label that the others are against.
        about: what was run, in a line.
        features: images [M, 3, H, W] -> [M, D], for fidelity; None to leave it out.

    Returns:
        The standings.
    """
    rows = results.rows(labels)
    results.finish(rows)
    by_label = {label: [row for row in rows if row.label == label] for label in labels}
    about += devices_of(rows)
    stats = {label: image_stats(results, own, features) for label, own in by_label.items()}
    found = standings(by_label, base, stats)
    summary = {"methods": found, "base": base, "about": about}
    write(results.folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    said = verdict(found, base)
    sections = sections_of(found, by_label, base)
    text = f"# Comparison\n\n{said}\n\n{about}\n\n{markdown(sections['methods'])}"
    if len(sections["refinement"]) > 1:
        text += f"\nSearches started from what was trained, with the same budget:\n\n{markdown(sections['refinement'])}"
    if len(sections["reward_hacking"]) > 1:
        text += f"\nGains in standard deviations of the base's scores:\n\n{markdown(sections['reward_hacking'])}"
    write(results.folder / "report.md", text)
    grid = list(grid_of(results, by_label, base))
    write(results.folder / REPORT, page(found, sections, grid, base, about, said))
    (results.folder / SO_FAR).unlink(missing_ok=True)
    return found


def devices_of(rows: Sequence[Row]) -> str:
    """That seconds do not compare, where the rows are of several devices; empty if of one."""
    devices = sorted({row.device for row in rows})
    if len(devices) <= 1:
        return ""
    return f"; seconds are of several devices ({', '.join(devices)}) and do not compare: count evaluations instead"


def sections_of(
    found: Mapping[str, Mapping[str, Any]], rows: Mapping[str, Sequence[Row]], base: str
) -> dict[str, list[list[str]]]:
    """The tables of a report as text: ``methods``, ``refinement`` and ``reward_hacking``."""
    return {"methods": lines(found, base), "refinement": refinement(rows), "reward_hacking": reward_hacking(found)}


def image_stats(results: Results, rows: Sequence[Row], features: Features | None) -> ImageStats:
    """Diversity and features of a method's images, a few in memory at a time."""
    by_prompt: dict[int, list[Row]] = {}
    for row in rows:
        by_prompt.setdefault(row.prompt, []).append(row)
    distances = [d for own in by_prompt.values() for d in pairwise_distance(results.images(own), [0] * len(own))]
    diversity = fmean(distances) if distances else None
    if features is None:
        return ImageStats(diversity)
    parts = [features(results.images(rows[place : place + AT_ONCE])) for place in range(0, len(rows), AT_ONCE)]
    return ImageStats(diversity, torch.cat(parts))


def verdict(found: Mapping[str, Mapping[str, Any]], base: str) -> str:
    """The answer people come for, in a sentence."""
    shares = {label: f for label, f in found.items() if f["share_of_best_gain"] is not None}
    searches = [label for label, f in shares.items() if f["verified"] and not f["trained"] and f["verifier"] != JUDGE]
    best = max(searches, key=lambda label: shares[label]["gain"], default=None)
    alike = found[base]["steps"]
    plain = {k: f for k, f in found.items() if f["trained"] and not f["verified"] and f["steps"] == alike}
    if best is None:
        said = f"No search gains anything over {base}."
        for label, f in plain.items():
            if f["gain"] is not None:
                said += f" {label} gains {f['gain']:+.3f} ({interval_in_words(f['interval'], f['prompts'])})."
        return said
    said = f"{best} gains most of the searches: {found[best]['gain']:+.3f} over {base}."
    for label, f in plain.items():
        if label not in shares:
            continue
        does = f"recovers {f['share_of_best_gain']:.0%} of it" if f["gain"] > 0 else "gains nothing"
        width, times = interval_in_words(f["interval"], f["prompts"]), _times(1 / f["cost_ratio"])
        said += f" {label} {does} ({f['gain']:+.3f}; {width}) in {times} its time."
    return said


def _times(ratio: float) -> str:
    return f"1/{1 / ratio:.0f} of" if ratio < 0.6 else f"{ratio:.2g} times"


def page(
    found: Mapping[str, Mapping[str, Any]],
    sections: Mapping[str, list[list[str]]],
    grid: Sequence[Any],
    base: str,
    about: str,
    said: str,
    under_way: UnderWay | None = None,
) -> str:
    """The page as HTML; of a comparison that goes on, with how much is done."""
    judged = bool(found) and bool(found[base]["judge"])
    quality = "the judge's mean over tags" if judged else "the weighted reward"
    costs = {
        "network evaluations an image, forward and backward": lambda f: f["nfe"] + f["nfe_backward"],
        "seconds an image": lambda f: f["seconds_per_image"],
    }
    by_method: dict[str, list[Mapping[str, Any]]] = {}
    for f in found.values():
        if f["gain"] is not None:
            by_method.setdefault(f["method"], []).append(f)
    charts = []
    for across, cost in costs.items() if by_method else ():
        series = [
            Line(
                name,
                own[0]["search"] if own[0]["verified"] else "",
                own[0]["trained"],
                sorted((cost(f), f["gain"]) for f in own),
            )
            for name, own in by_method.items()
        ]
        charts.append(Markup(against_compute(series, across, "gain")))
    largest = {name: max(own, key=lambda f: f["nfe"]) for name, own in by_method.items()}
    return render(
        "page.html",
        title="Test-time search and what was trained, compared",
        verdict=said,
        about=about,
        table=sections.get("methods"),
        trained={label for label, f in found.items() if f["trained"]},
        quality=quality,
        base=base,
        charts=charts,
        tags=list(found[base]["judge"]) if found else [],
        bars=largest,
        refinement=sections.get("refinement", []),
        reward_hacking=sections.get("reward_hacking", []),
        labels=list(found),
        judged=judged,
        unscored=any(f["without_score"] for f in found.values()),
        grid=grid,
        under_way=under_way,
    )


def grid_of(results: Results, rows: Mapping[str, Sequence[Row]], base: str) -> Iterator[tuple[str, list[Any]]]:
    """A few prompts, tag by tag, by their first noise, in every method."""
    firsts = [place for place, row in enumerate(rows[base]) if row.seed == 0]
    by_tag: dict[str, list[int]] = {}
    for place in firsts:
        by_tag.setdefault(rows[base][place].tag, []).append(place)
    turns = [place for turn in range(SHOWN) for own in by_tag.values() for place in own[turn : turn + 1]]
    for place in turns[:SHOWN]:
        cells = []
        for own in rows.values():
            row = own[place]
            cells.append({
                "source": _data(results.folder / row.image),
                "reward": f"{row.reward:.2f}",
                "right": None if row.judge is None else bool(row.judge),
            })  # fmt: skip
        yield rows[base][place].text, cells


def _data(file: Path) -> str:
    buffer = io.BytesIO()
    picture = Image.open(file).convert("RGB")
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
