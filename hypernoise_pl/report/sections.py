"""A comparison's figures as lines of text: for the terminal, for Markdown and for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import torch

from hypernoise_pl.metrics.intervals import estimate, in_words, mean_over_tags
from hypernoise_pl.report.results import ENSEMBLES, JUDGE, Row
from hypernoise_pl.report.tables import evaluations


def lines(found: Mapping[str, Mapping[str, Any]], base: str) -> list[list[str]]:
    """The table as text, its head first."""
    rewards = list(next(iter(found.values()))["rewards"])
    tags = [tag for tag in next(iter(found.values()))["judge"] if tag != "mean"]
    spoken = [tag.replace("_", " ") for tag in tags]
    head = ["method", *(["judge"] if tags else []), "gain", "95 %", "share of best", "cheaper by", "NFE", "s / image",
            *spoken, *rewards, "reward", "wins", "95 %", "diversity", "KID"]  # fmt: skip
    unscored = sorted({name for f in found.values() for name in f["without_score"]})
    head += [f"no {name}" for name in unscored]
    some_missing = any(f["missing"] for f in found.values())
    head += ["candidates not scored, an image"] if some_missing else []
    table = [head]
    for label, f in found.items():
        judged = [f"{f['judge'][tag]:.3f}" for tag in f["judge"]]
        table.append([
            label,
            *judged[:1],
            *(["", ""] if label == base else [_number(f["gain"], "+.3f"), in_words(f["interval"])]),
            "" if label == base or f["share_of_best_gain"] is None else f"{f['share_of_best_gain']:.0%}",
            "-" if f["cost_ratio"] is None else f"{f['cost_ratio']:.3g} x",
            evaluations(f),
            f"{f['seconds_per_image']:.4f}",
            *judged[1:],
            *(_number(f["rewards"][name]) for name in rewards),
            _number(f["reward"]),
            *(["", ""] if label == base else [_number(f["win_rate"], ".2f"), in_words(f["win_interval"], ".2f")]),
            _number(f["diversity"]),
            "" if f["kid"] is None else f"{f['kid']:.4f}",
            *(str(f["without_score"].get(name, 0)) for name in unscored),
            *([f"{f['missing']:.2f}"] if some_missing else []),
        ])  # fmt: skip
    return table


def _number(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None else f"{value:{form}}"


def markdown(table: Sequence[Sequence[str]]) -> str:
    """A Markdown table of lines, the head first."""
    head, *body = table
    rows = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def refinement(rows: Mapping[str, Sequence[Row]]) -> list[list[str]]:
    """Searches that started from what was trained, each against the same search and budget from Gaussian noise.

    Differences are paired by prompt and seed; their intervals are over prompts.
    """
    table = [["from what was trained", "from Gaussian noise", "budget", "NFE", "NFE, Gaussian",
              "trained", "Gaussian", "difference", "95 %"]]  # fmt: skip
    for label, own in rows.items():
        first = own[0]
        if not first.trained or not first.verified:
            continue
        for plain_label, other in rows.items():
            plain = other[0]
            same = all(
                getattr(plain, key) == getattr(first, key) for key in ("settings", "verifier", "steps", "budget")
            )
            if plain.trained or not same:
                continue
            values, before = (torch.tensor([_quality(row) for row in entries]) for entries in (own, other))
            prompts, tags = [row.prompt for row in own], [row.tag for row in own]
            difference = estimate(values - before, prompts, tags)
            table.append([
                label,
                plain_label,
                str(first.budget),
                *(_spent(entries) for entries in (own, other)),
                f"{mean_over_tags(values, tags):.3f}",
                f"{mean_over_tags(before, tags):.3f}",
                f"{difference.mean:+.3f}",
                in_words(difference.interval),
            ])  # fmt: skip
    return table


def _spent(rows: Sequence[Row]) -> str:
    return evaluations({"nfe": rows[0].nfe, "nfe_backward": rows[0].nfe_backward})


def _quality(row: Row) -> float:
    """The judge's verdict, or the weighted reward where nothing was judged."""
    return row.reward if row.judge is None else row.judge


def reward_hacking(found: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """What searching with one verifier does to the others, in standard deviations of the base's images.

    An ensemble has no other rewards: all are in it.
    """
    table = [["method", "searched by", "gain by it", "gain by the other rewards", "gain by the judge"]]
    for label, f in found.items():
        if not f["verified"]:
            continue
        rise = f["in_deviations"]
        others = [rise[name] for name in f["rewards"] if name != f["verifier"] and rise[name] is not None]
        beside = fmean(others) if others and f["verifier"] not in ENSEMBLES else None
        table.append([
            label,
            f["verifier"],
            *(_number(value, "+.2f") for value in (rise.get(f["verifier"]), beside, rise.get(JUDGE))),
        ])  # fmt: skip
    return table
