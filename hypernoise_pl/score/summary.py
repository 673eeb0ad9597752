"""The figures of a benchmark, as ``summary.json`` has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from hypernoise_pl.metrics.benchmark import ScoredImage, summarise_outcomes
from hypernoise_pl.metrics.intervals import estimate
from hypernoise_pl.score.left_out import LeftOut, counts
from hypernoise_pl.types import Prompt


def summarise(scored: Sequence[ScoredImage], left: Sequence[LeftOut], prompts: Sequence[Prompt]) -> dict[str, Any]:
    """The figures.

    Args:
        scored: images with their outcomes; at least one.
        left: what was left out.
        prompts: of the benchmark.

    Returns:
        ``score``, the mean over tags, with its 95 % ``interval`` (None where a tag has a single prompt); ``tags``, each
        one's ``score``, ``interval``, ``images``, ``correct`` (images whose value is 1) and ``prompts`` (None and 0 for
        a tag of the benchmark without an image); ``figures``, the benchmark's further figures; ``images`` and
        ``prompts`` that were scored, ``prompts_of`` all; the share ``correct_images`` of images, and
        ``correct_prompts`` of prompts with a correct image; ``no_value``, images that were looked at and got no figure;
        and what ``counts`` says of what was left out. Of several methods all but that stands under
        ``methods``, by name, and ``gains`` has the difference of each to the first one's.
    """
    methods = list(dict.fromkeys(each.image.made_by for each in scored))
    own = {name: [each for each in scored if each.image.made_by == name] for name in methods}
    figures = {name: _of_method(part, prompts) for name, part in own.items()}
    found: dict[str, Any] = figures[methods[0]] if len(methods) == 1 else {"methods": figures}
    if len(methods) > 1:
        found["gains"] = {name: _gain(own[name], own[methods[0]]) for name in methods[1:]}
    return found | counts(left)


def _of_method(scored: Sequence[ScoredImage], prompts: Sequence[Prompt]) -> dict[str, Any]:
    valued = [each for each in scored if each.outcome.value == each.outcome.value]
    correct = {each.prompt.index for each in valued if each.outcome.value == 1}
    judged = {each.prompt.index for each in valued}
    tags = list(dict.fromkeys(prompt.tag for prompt in prompts))
    further = summarise_outcomes([each.outcome for each in scored], [each.prompt for each in scored])
    del further["score"]
    return {
        **_figures(valued),
        "tags": {tag: _figures([each for each in valued if each.prompt.tag == tag]) for tag in tags if tag},
        "figures": further,
        "prompts_of": len(prompts),
        "correct_images": sum(each.outcome.value == 1 for each in valued) / max(1, len(valued)),
        "correct_prompts": len(correct) / max(1, len(judged)),
        "no_value": len(scored) - len(valued),
    }


def _figures(scored: Sequence[ScoredImage]) -> dict[str, Any]:
    values = torch.tensor([each.outcome.value for each in scored], dtype=torch.float64)
    places, tags = [each.prompt.index for each in scored], [each.prompt.tag for each in scored]
    figure = estimate(values, places, tags)
    return {
        "score": figure.mean if scored else None,
        "interval": figure.interval,
        "images": len(scored),
        "correct": sum(each.outcome.value == 1 for each in scored),
        "prompts": len({*places}),
    }


def _gain(scored: Sequence[ScoredImage], others: Sequence[ScoredImage]) -> dict[str, Any]:
    """The mean difference of the images of which both methods have a figure, by prompt and number."""
    values = {(each.prompt.index, each.image.number): each.outcome.value for each in others}
    missing = float("nan")
    every = [each.outcome.value - values.get((each.prompt.index, each.image.number), missing) for each in scored]
    both = [each for each, gain in zip(scored, every) if gain == gain]
    gains = torch.tensor([gain for gain in every if gain == gain], dtype=torch.float64)
    figure = estimate(gains, [each.prompt.index for each in both], [each.prompt.tag for each in both])
    return {"mean": figure.mean if both else None, "interval": figure.interval, "images": len(both)}
