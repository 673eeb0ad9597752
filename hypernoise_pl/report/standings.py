"""From a comparison's rows to its table: what every method reaches, what it costs, and what share of the best it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any

import torch
from torch import Tensor

from hypernoise_pl.metrics.fidelity import kernel_distance
from hypernoise_pl.metrics.intervals import bootstrap, mean_over_tags
from hypernoise_pl.report.results import Row


@dataclass(frozen=True)
class Looks:
    """What a method's images look like, together.

    Args:
        diversity: mean distance between two images of a prompt; None where no prompt has two.
        features: [M, D] of all images; None where nothing is to be known of them.
    """

    diversity: float | None
    features: Tensor | None = None


def standings(rows: Mapping[str, Sequence[Row]], base: str, looks: Mapping[str, Looks]) -> dict[str, dict[str, Any]]:
    """The figures of every method.

    Args:
        rows: label -> a row an image, for all labels the same prompts and seeds in the same order.
        base: label that gains are against.
        looks: label -> what its images look like.

    Returns:
        Label -> ``judge`` (mean over tags, and each tag; empty without a judge), ``rewards``, ``reward`` (weighted),
        ``gain`` over the base (by the judge, else by the weighted reward) with its 95 % ``interval`` over prompts,
        ``win_rate`` by the weighted reward with ``win_interval``, ``diversity``, ``kid`` from the base's images,
        ``nfe``, ``nfe_backward``, ``seconds_per_image``, and of the search that gains most without the judge's or a
        trained network's help ``share_of_best_gain`` and ``cost_ratio`` (its seconds over this method's);
        ``in_deviations``: every score's gain over the base's own standard deviation.
    """
    ground = rows[base]
    found = {label: _figures(entries, ground) for label, entries in rows.items()}
    for label, figures in found.items():
        own, other = looks[label].features, looks[base].features
        figures["diversity"] = looks[label].diversity
        figures["kid"] = None if own is None or other is None or label == base else kernel_distance(other, own)
    searches = [
        label
        for label, entries in rows.items()
        if not entries[0].trained and entries[0].verified and entries[0].verifier != "judge"
    ]
    best = max(searches, key=lambda label: found[label]["gain"], default=None)
    for figures in found.values():
        figures["share_of_best_gain"] = figures["cost_ratio"] = None
        if best is not None and found[best]["gain"] > 0:
            figures["share_of_best_gain"] = figures["gain"] / found[best]["gain"]
            figures["cost_ratio"] = found[best]["seconds_per_image"] / figures["seconds_per_image"]
    return found


def _figures(rows: Sequence[Row], ground: Sequence[Row]) -> dict[str, Any]:
    assert [(row.prompt, row.seed) for row in rows] == [(row.prompt, row.seed) for row in ground]
    prompts, tags = [row.prompt for row in rows], [row.tag for row in rows]
    first = rows[0]
    figures: dict[str, Any] = {
        "method": first.method,
        "search": first.search,
        "verifier": first.verifier,
        "trained": first.trained,
        "steps": first.steps,
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
    }
    gains = torch.tensor([row.reward - other.reward for row, other in zip(rows, ground)])
    if first.judge is not None:
        verdicts = torch.tensor([float(row.judge or 0.0) for row in rows])
        for tag in dict.fromkeys(tags):
            figures["judge"][tag] = verdicts[[place for place, own in enumerate(tags) if own == tag]].mean().item()
        figures["judge"] = {"mean": mean_over_tags(verdicts, tags), **figures["judge"]}
        gains = verdicts - torch.tensor([float(row.judge or 0.0) for row in ground])
    figures["gain"], figures["interval"] = mean_over_tags(gains, tags), bootstrap(gains, prompts, tags)
    wins = torch.tensor([float(row.reward > other.reward) for row, other in zip(rows, ground)])
    figures["win_rate"] = wins.mean().item()
    figures["win_interval"] = bootstrap(wins, prompts, tags)
    figures["in_deviations"] = _in_deviations(rows, ground)
    return figures


def _in_deviations(rows: Sequence[Row], ground: Sequence[Row]) -> dict[str, float]:
    """How far each score rose, in standard deviations that it has over the base's images: alike for all scores."""
    columns = {name: ([r.scores[name] for r in rows], [r.scores[name] for r in ground]) for name in rows[0].scores}
    columns["weighted"] = ([r.reward for r in rows], [r.reward for r in ground])
    if rows[0].judge is not None:
        columns["judge"] = ([r.judge or 0.0 for r in rows], [r.judge or 0.0 for r in ground])
    return {name: (fmean(now) - fmean(was)) / (pstdev(was) or 1.0) for name, (now, was) in columns.items()}
