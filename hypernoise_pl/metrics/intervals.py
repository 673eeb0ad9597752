"""The mean over tags and its bootstrap interval over prompts, the sampled units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hypernoise_pl.types import check_shape


@dataclass(frozen=True)
class Estimate:
    """A mean over tags, and the 95 % interval of the same mean.

    Args:
        mean: result of ``mean_over_tags``.
        interval: low and high from ``bootstrap``; None if there is none.
    """

    mean: float
    interval: tuple[float, float] | None


def estimate(values: Tensor, prompts: Sequence[int], tags: Sequence[str]) -> Estimate:
    """``mean_over_tags`` with its ``bootstrap`` interval."""
    return Estimate(mean_over_tags(values, tags), bootstrap(values, prompts, tags))


def mean_over_tags(values: Tensor, tags: Sequence[str]) -> float:
    """GenEval's mean: over images within each tag, then over tags.

    Args:
        values: [M] figures, one per image; NaN leaves the image out.
        tags: M tags.

    Returns:
        The mean over the tags with a figure; NaN if there is none.
    """
    check_shape("values", values, (len(tags),))
    if not tags:
        return float("nan")
    return float(torch.stack([own.nanmean() for own in _by_tag(values, tags).values()]).nanmean())


def with_tags(values: Tensor, tags: Sequence[str]) -> dict[str, float]:
    """``mean`` over tags, and the mean of each tag; a tag named ``mean`` becomes ``tag_mean``."""
    own = {"tag_mean" if tag == "mean" else tag: part for tag, part in _by_tag(values, tags).items()}
    return {"mean": mean_over_tags(values, tags)} | {tag: part.nanmean().item() for tag, part in own.items()}


def wins(scores: Tensor, others: Tensor) -> Tensor:
    """[M] 1 for a higher score than the other, 1/2 for an equal, 0 for a lower, NaN for a missing one.

    The mean over tags is the win rate; equal images give 1/2.
    """
    check_shape("others", others, scores.shape)
    won = (scores > others).double() + 0.5 * (scores == others).double()
    return won.masked_fill(scores.isnan() | others.isnan(), torch.nan)


def bootstrap(
    values: Tensor, prompts: Sequence[int], tags: Sequence[str], resamples: int = 2000, seed: int = 0
) -> tuple[float, float] | None:
    """95 % percentile interval of ``mean_over_tags``; prompts are resampled within their tags.

    Args:
        values: [M] figures, one per image (a verdict, or a difference of two); NaN if missing.
        prompts: M prompt indices, one per image.
        tags: M tags, one per image.
        resamples: number of bootstrap samples.
        seed: seed of the resampling.

    Returns:
        Low and high; None if a tag has a single prompt, whose variance is unknown.
    """
    draws = torch.Generator().manual_seed(seed)
    by_prompt: dict[str, dict[int, list[float]]] = {}
    for value, prompt, tag in zip(values.tolist(), prompts, tags, strict=True):
        if value == value:  # no NaN
            by_prompt.setdefault(tag, {}).setdefault(prompt, []).append(value)
    if not by_prompt or min(map(len, by_prompt.values())) < 2:
        return None
    means = torch.zeros(resamples, dtype=torch.float64)
    for groups in by_prompt.values():
        totals = torch.tensor([[sum(group), len(group)] for group in groups.values()], dtype=torch.float64)
        picked = torch.randint(len(totals), (resamples, len(totals)), generator=draws)
        sums = totals[picked].sum(1)  # [resamples, 2]: of values, and how many they are
        means += sums[:, 0] / sums[:, 1] / len(by_prompt)
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def in_words(interval: Sequence[float] | None, form: str = "+.3f") -> str:
    """``low to high``; a dash for no interval."""
    return "-" if interval is None else f"{interval[0]:{form}} to {interval[1]:{form}}"


def interval_in_words(interval: Sequence[float] | None, prompts: int) -> str:
    """The interval and the number of prompts in words, or the reason for no interval."""
    counted = f"{prompts} prompt{'' if prompts == 1 else 's'}"
    if interval is None:
        return f"{counted}; no interval: a tag has a single prompt"
    return f"95 % interval {in_words(interval)} over {counted}"


def _by_tag(values: Tensor, tags: Sequence[str]) -> dict[str, Tensor]:
    places: dict[str, list[int]] = {}
    for place, tag in enumerate(tags):
        places.setdefault(tag, []).append(place)
    return {tag: values.double()[own] for tag, own in places.items()}
