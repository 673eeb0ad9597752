"""How sure a figure is: the bootstrap over prompts, which are what was sampled (images of a prompt are not)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def mean_over_tags(values: Tensor, tags: Sequence[str]) -> float:
    """GenEval's mean: over images within each tag, then over tags."""
    names = list(dict.fromkeys(tags))
    place = torch.tensor([names.index(tag) for tag in tags])
    total = torch.zeros(len(names), dtype=torch.float64).index_add_(0, place, values.double())
    return float((total / place.bincount(minlength=len(names))).mean())


def bootstrap(
    values: Tensor, prompts: Sequence[int], tags: Sequence[str], resamples: int = 2000, seed: int = 0
) -> tuple[float, float] | None:
    """A 95 % percentile interval of ``mean_over_tags``, prompts resampled within their tags.

    Args:
        values: [M] one figure an image (a verdict, or the difference of two).
        prompts: M prompt indices.
        tags: M tags; a prompt has one.
        resamples: bootstrap samples.
        seed: of the resampling.

    Returns:
        Low and high; None where a tag has a single prompt, for then nothing tells how its prompts differ.
    """
    draws = torch.Generator().manual_seed(seed)
    by_prompt: dict[str, dict[int, list[float]]] = {}
    for value, prompt, tag in zip(values.tolist(), prompts, tags, strict=True):
        by_prompt.setdefault(tag, {}).setdefault(prompt, []).append(value)
    if min(map(len, by_prompt.values())) < 2:
        return None
    means = torch.zeros(resamples, dtype=torch.float64)
    for groups in by_prompt.values():
        each = torch.tensor([sum(group) / len(group) for group in groups.values()], dtype=torch.float64)
        picked = torch.randint(len(each), (resamples, len(each)), generator=draws)
        means += each[picked].mean(1) / len(by_prompt)
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def in_words(interval: Sequence[float] | None, form: str = "+.3f") -> str:
    """``low to high``; a dash where there is no interval."""
    return "-" if interval is None else f"{interval[0]:{form}} to {interval[1]:{form}}"
