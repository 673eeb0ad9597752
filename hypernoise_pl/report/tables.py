"""Tables of a summary: columns of text, for the terminal, for Markdown and for pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from hypernoise_pl.metrics.intervals import estimate, in_words, mean_over_tags
from hypernoise_pl.report.aligned import aligned
from hypernoise_pl.report.rows import ENSEMBLES, JUDGE, WEIGHTED, ImageRow, columns, prompts_and_tags
from hypernoise_pl.report.verdict import verdict

Table = list[list[str]]  # rows of cells, the head first
SECONDS = "s / image"  # head of the last column that a terminal shows of many methods


def table(summary: Mapping[str, Any]) -> Table:
    """All figures, one row per method; a column without any figure is left out."""
    return transposed(_columns(summary))


def transposed(rows: Sequence[Sequence[str]]) -> Table:
    """Rows as columns."""
    return [list(column) for column in zip(*rows, strict=True)]


def few_methods(summary: Mapping[str, Any]) -> str:
    """Plain text for a run of two or three methods, one column per method, and the verdict."""
    credit = summary["judged_by"]
    return "\n".join([aligned(_columns(summary)), "", verdict(summary), *([credit] if credit else [])])


def many_methods(summary: Mapping[str, Any]) -> str:
    """Plain text for a comparison, one row per method and the first columns alone, and the verdict."""
    rows, credit = table(summary), summary["judged_by"]
    shown = aligned(rows, rows[0].index(SECONDS) + 1)
    return "\n".join([shown, "", verdict(summary), *([credit] if credit else [])])


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, the head first."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def evaluations(nfe: float, nfe_backward: float) -> str:
    """Network evaluations, and backward passes where there are any."""
    return f"{nfe:.10g}" + (f" + {nfe_backward:.10g} back" if nfe_backward else "")


def refinement(rows: Mapping[str, Sequence[ImageRow]]) -> Table:
    """Searches from refined noise, each against the same search and budget from Gaussian noise.

    Differences are paired by prompt and seed; their intervals are over prompts.
    """
    result = [["from refined noise", "from Gaussian noise", "budget", "NFE", "NFE, Gaussian",
              "refined", "Gaussian", "difference", "95 %"]]  # fmt: skip
    for own in rows.values():
        info = own[0].method
        if not info.trained or not info.search:
            continue
        for other in rows.values():
            plain = other[0].method
            same = all(
                getattr(plain, key) == getattr(info, key)
                for key in ("search", "settings", "verifier", "steps", "requested_nfe")
            )
            if plain.trained or not same:
                continue
            now, before = columns(own), columns(other)
            column = JUDGE if JUDGE in now else WEIGHTED
            prompts, tags = prompts_and_tags(own)
            difference = estimate(now[column] - before[column], prompts, tags)
            result.append([
                info.label,
                plain.label,
                str(info.requested_nfe),
                *(evaluations(entries[0].cost.nfe, entries[0].cost.nfe_backward) for entries in (own, other)),
                f"{mean_over_tags(now[column], tags):.3f}",
                f"{mean_over_tags(before[column], tags):.3f}",
                f"{difference.mean:+.3f}",
                in_words(difference.interval),
            ])  # fmt: skip
    return result


def reward_hacking(summary: Mapping[str, Any]) -> Table:
    """The effect of searching with one verifier on the others, in standard deviations of the base's scores.

    An ensemble has no other rewards: it contains all of them.
    """
    rows = [["method", "searched by", "gain by it", "gain by the other rewards", "gain by the judge"]]
    for figures in summary["methods"].values():
        if not figures["search"]:
            continue
        rise, verifier = figures["gain_in_deviations"], figures["verifier"]
        others = [rise[name] for name in figures["rewards"] if name != verifier and rise[name] is not None]
        beside = fmean(others) if others and verifier not in ENSEMBLES else None
        gains = (rise.get(verifier), beside, rise.get(JUDGE))
        rows.append([figures["label"], verifier, *(_number(value, "+.2f") for value in gains)])
    return rows


def _columns(summary: Mapping[str, Any]) -> Table:
    """Columns of the table, the head of each first; those without any figure are left out."""
    methods, base = list(summary["methods"].values()), summary["methods"][summary["base"]]
    tags = [tag for tag in base["judge"] if tag != "mean"]
    unscored = sorted({name for figures in methods for name in figures["unscored_images"]})
    result = [["method", *(figures["label"] for figures in methods)]]

    def add(head: str, cells: Sequence[str]) -> None:
        if any(cell.strip("- ") for cell in cells):
            result.append([head, *cells])

    def over_base(head: str, cells: Sequence[str]) -> None:
        add(head, ["" if figures is base else cell for figures, cell in zip(methods, cells, strict=True)])

    def judged(head: str, tag: str) -> None:
        add(head, [_number(figures["judge"].get(tag)) for figures in methods])

    judged("judge", "mean")
    over_base("gain", [_number(figures["gain"], "+.3f") for figures in methods])
    over_base("95 %", [in_words(figures["interval"]) for figures in methods])
    over_base("share of best", [_number(figures["share_of_best_gain"], ".0%") for figures in methods])
    add("cheaper by", [_number(figures["cost_ratio"], ".3g", " x") for figures in methods])
    add("NFE", [evaluations(figures["nfe"], figures["nfe_backward"]) for figures in methods])
    add(SECONDS, [f"{figures['seconds_per_image']:.4f}" for figures in methods])
    for tag in tags:
        judged(tag.replace("_", " "), tag)
    for name in base["rewards"]:
        result.append([name, *(_number(figures["rewards"].get(name)) for figures in methods)])
    add("weighted reward", [_number(figures["weighted_reward"]) for figures in methods])
    over_base("wins", [_number(figures["win_rate"], ".2f") for figures in methods])
    over_base("95 %", [in_words(figures["win_interval"], ".2f") for figures in methods])
    add("diversity", [_number(figures["diversity"]) for figures in methods])
    over_base("KID", [_number(figures["kid"], ".4f") for figures in methods])
    for name in unscored:
        add(f"no {name}", [str(figures["unscored_images"].get(name, 0)) for figures in methods])
    if any(figures["unscored_candidates"] for figures in methods):
        add("unscored candidates / image", [f"{figures['unscored_candidates']:.2f}" for figures in methods])
    add("images", [str(figures["images"]) for figures in methods])
    return result


def _number(value: float | None, form: str = ".3f", unit: str = "") -> str:
    return "-" if value is None else f"{value:{form}}{unit}"
