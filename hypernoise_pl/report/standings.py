"""From a comparison's rows to its table: what every method reaches, what it costs, and what share of the best it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev
from typing import Any

import torch

from hypernoise_pl.metrics.diversity import pairwise_distance
from hypernoise_pl.metrics.fidelity import kernel_distance
from hypernoise_pl.metrics.intervals import bootstrap, mean_over_tags
from hypernoise_pl.report.results import Row
from hypernoise_pl.search.none import NoSearch


def standings(
    rows: Mapping[str, Sequence[Row]],
    base: str,
    images: Mapping[str, torch.Tensor],
    features: Mapping[str, torch.Tensor] | None = None,
) -> dict[str, dict[str, Any]]:
    """The figures of every method.

    Args:
        rows: label -> a row an image, for all labels the same prompts and seeds in the same order.
        base: label that gains are against.
        images: label -> [M, 3, H, W] in the same order.
        features: label -> [M, D]; None to leave fidelity out.

    Returns:
        Label -> ``judge`` (mean over tags, and each tag; empty without a judge), ``rewards``, ``reward`` (weighted),
        ``gain`` over the base (by the judge, else by the weighted reward) with its 95 % ``interval`` over prompts,
        ``win_rate`` by the weighted reward with ``win_interval``, ``diversity``, ``kid`` from the base's images,
        ``nfe``, ``nfe_backward``, ``seconds_per_image``, and of the search that gains most without the judge's or a
        trained network's help ``share_of_best_gain`` and ``cost_ratio`` (its seconds over this method's);
        ``in_deviations``: every score's gain over the base's own standard deviation.
    """
    ground = rows[base]
    found = {label: _figures(entries, ground, images[label]) for label, entries in rows.items()}
    if features is not None:
        for label, figures in found.items():
            figures["kid"] = None if label == base else kernel_distance(features[base], features[label])
    searches = [
        label
        for label, entries in rows.items()
        if not entries[0].trained and entries[0].search != NoSearch.__name__ and entries[0].verifier != "judge"
    ]
    best = max(searches, key=lambda label: found[label]["gain"], default=None)
    for figures in found.values():
        figures["share_of_best_gain"] = figures["cost_ratio"] = None
        if best is not None and found[best]["gain"] > 0:
            figures["share_of_best_gain"] = figures["gain"] / found[best]["gain"]
            figures["cost_ratio"] = found[best]["seconds_per_image"] / figures["seconds_per_image"]
    return found


def _figures(rows: Sequence[Row], ground: Sequence[Row], images: torch.Tensor) -> dict[str, Any]:
    assert [(row.prompt, row.seed) for row in rows] == [(row.prompt, row.seed) for row in ground]
    prompts, tags = [row.prompt for row in rows], [row.tag for row in rows]
    first = rows[0]
    figures: dict[str, Any] = {
        "method": first.method,
        "search": first.search,
        "verifier": first.verifier,
        "trained": first.trained,
        "judge": {},
        "rewards": {name: fmean(row.scores[name] for row in rows) for name in first.scores},
        "reward": fmean(row.reward for row in rows),
        "nfe": first.nfe,
        "nfe_backward": first.nfe_backward,
        "decodes": first.decodes,
        "verified": first.verified,
        "missing": fmean(row.missing for row in rows),
        "seconds_per_image": fmean(row.seconds for row in rows),
        "images": len(rows),
        "prompts": len(set(prompts)),
        "kid": None,
    }
    gains = torch.tensor([row.reward - other.reward for row, other in zip(rows, ground)])
    if first.judge is not None:
        verdicts = torch.tensor([float(row.judge or 0.0) for row in rows])
        for tag in dict.fromkeys(tags):
            figures["judge"][tag] = verdicts[[place for place, own in enumerate(tags) if own == tag]].mean().item()
        figures["judge"] = {"mean": mean_over_tags(verdicts, tags), **figures["judge"]}
        gains = verdicts - torch.tensor([float(row.judge or 0.0) for row in ground])
    figures["gain"], figures["interval"] = mean_over_tags(gains, tags), list(bootstrap(gains, prompts, tags))
    wins = torch.tensor([float(row.reward > other.reward) for row, other in zip(rows, ground)])
    figures["win_rate"] = wins.mean().item()
    figures["win_interval"] = list(bootstrap(wins, prompts, tags))
    distances = pairwise_distance(images, prompts)
    figures["diversity"] = fmean(distances) if distances else None
    figures["in_deviations"] = _in_deviations(rows, ground)
    return figures


def _in_deviations(rows: Sequence[Row], ground: Sequence[Row]) -> dict[str, float]:
    """How far each score rose, in standard deviations that it has over the base's images: alike for all scores."""
    columns = {name: ([r.scores[name] for r in rows], [r.scores[name] for r in ground]) for name in rows[0].scores}
    columns["weighted"] = ([r.reward for r in rows], [r.reward for r in ground])
    if rows[0].judge is not None:
        columns["judge"] = ([r.judge or 0.0 for r in rows], [r.judge or 0.0 for r in ground])
    return {name: (fmean(now) - fmean(was)) / (pstdev(was) or 1.0) for name, (now, was) in columns.items()}


def lines(found: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """The table as text, its head first."""
    rewards = list(next(iter(found.values()))["rewards"])
    tags = [tag for tag in next(iter(found.values()))["judge"] if tag != "mean"]
    spoken = [tag.replace("_", " ") for tag in tags]
    head = ["method", *(["judge"] if tags else []), "gain", "95 %", "share of best", "cheaper by", "NFE", "s / image",
            *spoken, *rewards, "reward", "wins", "95 %", "diversity", "KID"]  # fmt: skip
    table = [head]
    for label, f in found.items():
        judged = [f"{f['judge'][tag]:.3f}" for tag in f["judge"]]
        table.append([
            label,
            *judged[:1],
            f"{f['gain']:+.3f}",
            f"{f['interval'][0]:+.3f} to {f['interval'][1]:+.3f}",
            "-" if f["share_of_best_gain"] is None else f"{f['share_of_best_gain']:.0%}",
            "-" if f["cost_ratio"] is None else f"{f['cost_ratio']:.3g} x",
            f"{f['nfe']}" + (f" + {f['nfe_backward']} back" if f["nfe_backward"] else ""),
            f"{f['seconds_per_image']:.4f}",
            *judged[1:],
            *(f"{f['rewards'][name]:.3f}" for name in rewards),
            f"{f['reward']:.3f}",
            f"{f['win_rate']:.2f}",
            f"{f['win_interval'][0]:.2f} to {f['win_interval'][1]:.2f}",
            "-" if f["diversity"] is None else f"{f['diversity']:.3f}",
            "-" if f["kid"] is None else f"{f['kid']:.4f}",
        ])  # fmt: skip
    return table


def markdown(table: Sequence[Sequence[str]]) -> str:
    """A Markdown table of lines, the head first."""
    head, *body = table
    rows = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def hacking(found: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """What searching with one verifier does to the others, in standard deviations of the base's images."""
    table = [["method", "searched by", "gain by it", "gain by the other rewards", "gain by the judge"]]
    for label, f in found.items():
        if f["search"] == NoSearch.__name__:
            continue
        rise = f["in_deviations"]
        own = [rise[f["verifier"]]] if f["verifier"] in rise else []
        others = [value for name, value in rise.items() if name not in (f["verifier"], "weighted", "judge")]
        table.append([
            label,
            f["verifier"],
            f"{own[0]:+.2f}" if own else "-",
            f"{fmean(others):+.2f}" if others else "-",
            f"{rise['judge']:+.2f}" if "judge" in rise else "-",
        ])  # fmt: skip
    return table
