"""Computes the figures of a benchmark for ``summary.json``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from hypernoise_pl.metrics.benchmark import ScoredImage, summarise_outcomes
from hypernoise_pl.metrics.intervals import estimate
from hypernoise_pl.score.left_out import LeftOut, count_left_out
from hypernoise_pl.types import Prompt


def summarise(scored: Sequence[ScoredImage], left_out: Sequence[LeftOut], prompts: Sequence[Prompt]) -> dict[str, Any]:
    """Compute the figures of scored images.

    Args:
        scored: images with their outcomes; at least one.
        left_out: images and lines that enter no figure.
        prompts: prompts of the benchmark.

    Returns:
        ``score``, the mean over tags, with its 95 % ``interval`` (None if a tag has a single prompt); ``tags``, the
        ``score``, ``interval``, ``images``, ``correct`` (images of value 1) and ``prompts`` of each tag (None and 0 for
        a tag without images); ``figures``, the benchmark's other figures; ``images`` and ``prompts``, numbers of the
        scored ones; ``prompts_of``, the number of all prompts; ``correct_images``, the share of correct images;
        ``correct_prompts``, the share of prompts with a correct image; ``no_value``, images without a value; and the
        counts of ``count_left_out``. With several methods, all but the last stands under ``methods`` by name, and
        ``gains`` holds the difference of each method to the first.
    """
    methods = list(dict.fromkeys(item.image.made_by for item in scored))
    by_method = {name: [item for item in scored if item.image.made_by == name] for name in methods}
    figures = {name: _method_figures(images, prompts) for name, images in by_method.items()}
    summary: dict[str, Any] = figures[methods[0]] if len(methods) == 1 else {"methods": figures}
    if len(methods) > 1:
        first = by_method[methods[0]]
        summary["gains"] = {name: _gain(by_method[name], first) for name in methods[1:]}
    return summary | count_left_out(left_out)


def _method_figures(scored: Sequence[ScoredImage], prompts: Sequence[Prompt]) -> dict[str, Any]:
    valued = [item for item in scored if item.outcome.value == item.outcome.value]
    correct = {item.prompt.index for item in valued if item.outcome.value == 1}
    judged = {item.prompt.index for item in valued}
    tags = list(dict.fromkeys(prompt.tag for prompt in prompts))
    others = summarise_outcomes([item.outcome for item in scored], [item.prompt for item in scored])
    del others["score"]
    return {
        **_figures(valued),
        "tags": {tag: _figures([item for item in valued if item.prompt.tag == tag]) for tag in tags if tag},
        "figures": others,
        "prompts_of": len(prompts),
        "correct_images": sum(item.outcome.value == 1 for item in valued) / max(1, len(valued)),
        "correct_prompts": len(correct) / max(1, len(judged)),
        "no_value": len(scored) - len(valued),
    }


def _figures(scored: Sequence[ScoredImage]) -> dict[str, Any]:
    values = torch.tensor([item.outcome.value for item in scored], dtype=torch.float64)
    prompts, tags = [item.prompt.index for item in scored], [item.prompt.tag for item in scored]
    figure = estimate(values, prompts, tags)
    return {
        "score": figure.mean if scored else None,
        "interval": figure.interval,
        "images": len(scored),
        "correct": sum(item.outcome.value == 1 for item in scored),
        "prompts": len({*prompts}),
    }


def _gain(scored: Sequence[ScoredImage], others: Sequence[ScoredImage]) -> dict[str, Any]:
    """The mean difference of two methods, over the prompts and numbers of which both have a value."""
    values = {(item.prompt.index, item.image.number): item.outcome.value for item in others}
    missing = float("nan")
    differences = [item.outcome.value - values.get((item.prompt.index, item.image.number), missing) for item in scored]
    both = [item for item, gain in zip(scored, differences) if gain == gain]
    gains = torch.tensor([gain for gain in differences if gain == gain], dtype=torch.float64)
    figure = estimate(gains, [item.prompt.index for item in both], [item.prompt.tag for item in both])
    return {"mean": figure.mean if both else None, "interval": figure.interval, "images": len(both)}
