"""From a comparison's rows to its table: what every method reaches, what it costs, and what share of the best it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from statistics import fmean, median
from typing import Any

import torch
from torch import Tensor

from hypernoise_pl.metrics.fidelity import kernel_distance
from hypernoise_pl.metrics.intervals import estimate, mean_over_tags, wins, with_tags
from hypernoise_pl.report.results import JUDGE, WEIGHTED, Row


@dataclass(frozen=True)
class ImageStats:
    """What a method's images look like, together.

    Args:
        diversity: mean distance between two images of a prompt; None where no prompt has two.
        features: [M, D] of all images; None where nothing is to be known of them.
    """

    diversity: float | None
    features: Tensor | None = None


def standings(
    rows: Mapping[str, Sequence[Row]], base: str, stats: Mapping[str, ImageStats]
) -> dict[str, dict[str, Any]]:
    """The figures of every method. Means are over tags, intervals those of the same means; None is what has no figure.

    Args:
        rows: label -> a row an image, for all labels the same prompts and seeds in the same order.
        base: label that gains are against.
        stats: label -> what its images look like.

    Returns:
        Label -> ``judge`` (``mean``, and each tag; empty without a judge), ``rewards``, ``reward`` (weighted),
        ``without_score`` (reward -> images it gave no score), ``gain`` over the base (by the judge, else by the
        weighted reward) with its 95 % ``interval`` over prompts, ``win_rate`` by the weighted reward (a tie counts one
        half) with ``win_interval``, ``diversity``, ``kid`` from the base's images, ``nfe``, ``nfe_backward``,
        ``seconds_per_image`` (the median: a unit that warms a device up does not count), and of the search that gains
        most without the judge's or a trained network's help ``share_of_best_gain`` and ``cost_ratio`` (its seconds over
        this method's); ``in_deviations``: every score's gain over the base's own standard deviation.
    """
    ground = rows[base]
    found = {label: _figures(entries, ground) for label, entries in rows.items()}
    for label, figures in found.items():
        own, other = stats[label].features, stats[base].features
        figures["diversity"] = stats[label].diversity
        figures["kid"] = (
            None if own is None or other is None or label == base else _known(kernel_distance(other, own, paired=True))
        )
    searches = [
        label
        for label, entries in rows.items()
        if not entries[0].trained
        and entries[0].verified
        and entries[0].verifier != JUDGE
        and found[label]["gain"] is not None
    ]
    best = max(searches, key=lambda label: found[label]["gain"], default=None)
    for figures in found.values():
        figures["share_of_best_gain"] = figures["cost_ratio"] = None
        if best is not None and found[best]["gain"] > 0:
            gain = figures["gain"]
            figures["share_of_best_gain"] = None if gain is None else gain / found[best]["gain"]
            figures["cost_ratio"] = found[best]["seconds_per_image"] / figures["seconds_per_image"]
    return found


def _figures(rows: Sequence[Row], ground: Sequence[Row]) -> dict[str, Any]:
    assert [(row.prompt, row.seed) for row in rows] == [(row.prompt, row.seed) for row in ground]
    prompts, tags = [row.prompt for row in rows], [row.tag for row in rows]
    first, scores, before = rows[0], _columns(rows), _columns(ground)
    names = list(first.scores)
    quality = JUDGE if JUDGE in scores else WEIGHTED
    gain = estimate(scores[quality] - before[quality], prompts, tags)
    won = estimate(wins(scores[WEIGHTED], before[WEIGHTED]), prompts, tags)
    missing = {name: int(scores[name].isnan().sum()) for name in names}
    return {
        "method": first.method,
        "search": first.search,
        "verifier": first.verifier,
        "trained": first.trained,
        "steps": first.steps,
        "judge": with_tags(scores[JUDGE], tags) if JUDGE in scores else {},
        "rewards": {name: _known(mean_over_tags(scores[name], tags)) for name in names},
        "reward": _known(mean_over_tags(scores[WEIGHTED], tags)),
        "without_score": {name: count for name, count in missing.items() if count},
        "nfe": _per_image(row.nfe for row in rows),
        "nfe_backward": _per_image(row.nfe_backward for row in rows),
        "decodes": _per_image(row.decodes for row in rows),
        "verified": _per_image(row.verified for row in rows),
        "missing": fmean(row.missing for row in rows),
        "seconds_per_image": median(row.seconds for row in rows),
        "images": len(rows),
        "prompts": len(set(prompts)),
        "gain": _known(gain.mean),
        "interval": gain.interval,
        "win_rate": _known(won.mean),
        "win_interval": won.interval,
        "in_deviations": {name: in_deviations(scores[name], before[name], tags) for name in scores},
    }


def _columns(rows: Sequence[Row]) -> dict[str, Tensor]:
    """Name -> [M]: every reward's scores, the weighted reward, and the judge's verdicts where there is a judge."""
    columns = {name: [row.scores[name] for row in rows] for name in rows[0].scores}
    columns[WEIGHTED] = [row.reward for row in rows]
    if any(row.judge is not None for row in rows):
        columns[JUDGE] = [nan if row.judge is None else row.judge for row in rows]
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in columns.items()}


def in_deviations(now: Tensor, was: Tensor, tags: Sequence[str]) -> float | None:
    """How far a score rose, in standard deviations that it has over the base's images: alike for all scores.

    None where the base's scores do not differ, or none is there.
    """
    spread = was[~was.isnan()].std(correction=0).item()
    rise = mean_over_tags(now - was, tags)
    return rise / spread if spread > 0 and isfinite(rise) else None


def _per_image(counts: Iterable[int]) -> float:
    """The mean, a whole number where all are alike."""
    every = list(counts)
    return every[0] if len(set(every)) == 1 else fmean(every)


def _known(value: float) -> float | None:
    return value if isfinite(value) else None
