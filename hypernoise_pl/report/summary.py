"""The summary of image rows: quality, gain over the base and cost of every method, in one schema for all commands.

docs/results-format.md documents every key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import fmean, median
from typing import Any

from torch import Tensor

from hypernoise_pl.metrics.fidelity import kernel_distance
from hypernoise_pl.metrics.intervals import Estimate, estimate, mean_over_tags, wins, with_tags
from hypernoise_pl.report.rows import JUDGE, WEIGHTED, ImageRow, columns, paired, prompts_and_tags

Figures = dict[str, Any]  # one method's, by the documented keys


@dataclass(frozen=True)
class ImageStats:
    """Figures of a method's images together, which no single row has.

    Args:
        diversity: mean distance between two images of a prompt; None where no prompt has two.
        features: [M, D] features of all images; None where they are not computed.
    """

    diversity: float | None = None
    features: Tensor | None = None


def summary(
    rows: Mapping[str, Sequence[ImageRow]],
    base: str,
    stats: Mapping[str, ImageStats],
    description: str = "",
    judged_by: str | None = None,
    fit: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of ``summary.json``. Means are over tags, intervals over prompts; a figure without a value is None.

    Args:
        rows: method -> one row per image.
        base: method that gains are against.
        stats: method -> figures of its images together.
        description: run, prompts and device in a line.
        judged_by: judge and its models in a sentence; None without a judge.
        fit: ``seconds``, ``seconds_per_step`` and ``device`` of the training; None without one.

    Returns:
        The documented keys, with ``benchmarks`` empty.
    """
    methods = {name: _figures(own, rows[base]) for name, own in rows.items()}
    for name, figures in methods.items():
        figures["diversity"] = stats[name].diversity
        figures["kid"] = None if name == base else _kid(stats[name].features, stats[base].features)
    best = _best_search(rows, methods)
    _share(rows, base, methods, best)
    prompts = len({row.prompt for row in rows[base]})
    return {
        "description": description,
        "base": base,
        "best_search": best,
        "gain_by": JUDGE if methods[base]["judge"] else "weighted_reward",
        "judged_by": judged_by,
        "prompts": prompts,
        "seeds": len(rows[base]) // max(1, prompts),
        "methods": methods,
        "benchmarks": {},
        "fit": None if fit is None else dict(fit),
    }


def quality(rows: Sequence[ImageRow]) -> Figures:
    """A method's quality, as means over tags; NaN without a score.

    Returns:
        ``judge``: mean and each tag's share, empty without a judge; ``rewards``; ``weighted_reward``;
        ``unscored_images``: number of images without a score, of the rewards that have such.
    """
    values, tags = columns(rows), [row.tag for row in rows]
    names = list(rows[0].scores)
    unscored = {name: int(values[name].isnan().sum()) for name in names}
    return {
        "judge": with_tags(values[JUDGE], tags) if JUDGE in values else {},
        "rewards": {name: mean_over_tags(values[name], tags) for name in names},
        "weighted_reward": mean_over_tags(values[WEIGHTED], tags),
        "unscored_images": {name: count for name, count in unscored.items() if count},
    }


def gain(rows: Sequence[ImageRow], base: Sequence[ImageRow], column: str) -> Estimate:
    """The gain over the base in one column, paired by prompt and seed."""
    rows, base = paired(rows, base)
    return estimate(columns(rows)[column] - columns(base)[column], *prompts_and_tags(rows))


def win_rate(rows: Sequence[ImageRow], base: Sequence[ImageRow]) -> Estimate:
    """The share of images with a higher weighted reward than the base's, paired; a tie counts one half."""
    rows, base = paired(rows, base)
    return estimate(wins(columns(rows)[WEIGHTED], columns(base)[WEIGHTED]), *prompts_and_tags(rows))


def in_deviations(now: Tensor, was: Tensor, tags: Sequence[str]) -> float | None:
    """The rise of a score in standard deviations of the base's scores: one unit for all scores.

    None where the base's scores do not differ, or there are none.
    """
    known = was[~was.isnan()]
    spread = known.std(correction=0).item() if len(known) else 0.0
    rise = mean_over_tags(now - was, tags)
    return rise / spread if spread > 0 and isfinite(rise) else None


def _figures(rows: Sequence[ImageRow], ground: Sequence[ImageRow]) -> Figures:
    info, costs = rows[0].method, [row.cost for row in rows]
    own = quality(rows)
    same, base = paired(rows, ground)
    now, before, tags = columns(same), columns(base), [row.tag for row in same]
    over, won = gain(same, base, JUDGE if JUDGE in now else WEIGHTED), win_rate(same, base)
    return {
        "label": info.label,
        "method": info.method,
        "search": info.search,
        "verifier": info.verifier,
        "trained": info.trained,
        "steps": info.steps,
        "judge": own["judge"],
        "rewards": {name: _known(mean) for name, mean in own["rewards"].items()},
        "weighted_reward": _known(own["weighted_reward"]),
        "unscored_images": own["unscored_images"],
        "gain": _known(over.mean),
        "interval": over.interval,
        "win_rate": _known(won.mean),
        "win_interval": won.interval,
        "gain_in_deviations": {name: in_deviations(now[name], before[name], tags) for name in now},
        "nfe": _per_image(cost.nfe for cost in costs),
        "nfe_backward": _per_image(cost.nfe_backward for cost in costs),
        "decodes": _per_image(cost.decodes for cost in costs),
        "verified": _per_image(cost.verified for cost in costs),
        "unscored_candidates": fmean(cost.unscored_candidates for cost in costs),
        "seconds_per_image": median(cost.seconds for cost in costs),
        "images": len(rows),
        "prompts": len({row.prompt for row in rows}),
    }


def _best_search(rows: Mapping[str, Sequence[ImageRow]], methods: Mapping[str, Figures]) -> str | None:
    """The search that gains most without the judge's or the adapter's help; None where none gains."""
    infos = {name: own[0].method for name, own in rows.items()}
    searches = [
        name
        for name, info in infos.items()
        if info.search and not info.trained and info.verifier != JUDGE and methods[name]["gain"] is not None
    ]
    best = max(searches, key=lambda name: methods[name]["gain"], default=None)
    return best if best is not None and methods[best]["gain"] > 0 else None


def _share(rows: Mapping[str, Sequence[ImageRow]], base: str, methods: Mapping[str, Figures], best: str | None) -> None:
    """Enter each method's share of the best search's gain, on the images that both have, and its relative cost."""
    column = JUDGE if methods[base]["judge"] else WEIGHTED
    for name, figures in methods.items():
        figures["paired_gain"] = figures["share_of_best_gain"] = figures["cost_ratio"] = None
        if best is None:
            continue
        figures["cost_ratio"] = methods[best]["seconds_per_image"] / figures["seconds_per_image"]
        own, ground, other = paired(rows[name], rows[base], rows[best])
        if not own:
            continue
        reached, whole = (_mean_gain(entries, ground, column) for entries in (own, other))
        if isfinite(reached) and whole > 0:
            figures["paired_gain"], figures["share_of_best_gain"] = reached, reached / whole


def _mean_gain(rows: Sequence[ImageRow], base: Sequence[ImageRow], column: str) -> float:
    return mean_over_tags(columns(rows)[column] - columns(base)[column], [row.tag for row in rows])


def _kid(features: Tensor | None, base: Tensor | None) -> float | None:
    return None if features is None or base is None else _known(kernel_distance(base, features, paired=True))


def _per_image(counts: Iterable[int | None]) -> float | None:
    """The mean, a whole number where all are equal; None where one was not counted."""
    values = list(counts)
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return known[0] if len(set(known)) == 1 else fmean(known)


def _known(value: float) -> float | None:
    return value if isfinite(value) else None
