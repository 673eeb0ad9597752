"""``score fidelity``: sets of images held against another set, by their features."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import fill
from typing import Any

import torch
from torch import Tensor

from hypernoise_pl.metrics.benchmark import ScoredImage
from hypernoise_pl.metrics.diversity import diversity
from hypernoise_pl.metrics.fidelity import Fidelity
from hypernoise_pl.metrics.fidelity_benchmark import FidelityBenchmark
from hypernoise_pl.report.aligned import aligned
from hypernoise_pl.score.left_out import LeftOut, counts
from hypernoise_pl.score.sources import Images, find_images
from hypernoise_pl.score.table import WIDTH

AGAINST = "(against)"  # in the place of a method's name, of the images that others are held against


def with_against(images: Images, place: Path | None) -> tuple[Images, str]:
    """The images with those that they are held against, and the method of the latter.

    Args:
        images: to measure.
        place: folder or file of the others; None for the first method of several.

    Raises:
        ValueError: if there are no others.
    """
    if place is not None:
        others = find_images(place, FidelityBenchmark.folder, None)
        more = [replace(image, made_by=AGAINST) for image in others.files]
        left = [replace(each, method=AGAINST) for each in others.left]
        return Images([*images.files, *more], [*images.left, *left], images.prompts), AGAINST
    methods = list(dict.fromkeys(image.made_by for image in images.files))
    if len(methods) < 2:
        raise ValueError("score fidelity: against which images? give a folder of them: --against DIR")
    return images, methods[0]


def summarise(scored: Sequence[ScoredImage], left: Sequence[LeftOut], against: str) -> dict[str, Any]:
    """Method -> figures of its images, ``images``, ``against`` and ``caveats``; and what was left out.

    The method that others are held against has the diversity of its own images alone.
    """
    others = [each for each in scored if each.image.made_by == against]
    real = _features(others)
    found: dict[str, Any] = {}
    if against != AGAINST:
        alone = diversity(real, [each.prompt.index for each in others])
        found[against] = {"figures": _known(alone), "images": len(others), "against": None, "caveats": []}
    for name in dict.fromkeys(each.image.made_by for each in scored if each.image.made_by != against):
        own = [each for each in scored if each.image.made_by == name]
        paired = against != AGAINST and [*map(_place, own)] == [*map(_place, others)]
        measured = Fidelity.of(_features(own), real, [each.prompt.index for each in own], paired)
        sizes = {"images": measured.images, "against": measured.against}
        caveats = list(measured.caveats)
        found[name or "images"] = {"figures": _known(measured.figures), **sizes, "caveats": caveats}
    return {"methods": found, **counts(left)}


def table(summary: Mapping[str, Any]) -> str:
    """The figures in plain text, a column a method, and sentences that say what they are of."""
    methods = summary["methods"]
    rows = [("", *methods)]
    names = dict.fromkeys(name for own in reversed(methods.values()) for name in own["figures"])
    for name in names:
        values = [own["figures"].get(name) for own in methods.values()]
        rows.append((name.replace("_", " "), *("-" if value is None else f"{value:.4g}" for value in values)))
    for name in ("images", "against"):
        rows.append((name, *("-" if own[name] is None else str(own[name]) for own in methods.values())))
    said = f"{summary['title']} by {summary['judged_by']}, against {summary['against']}."
    caveats = dict.fromkeys(caveat for own in methods.values() for caveat in own["caveats"])
    lines = [fill(text, WIDTH, break_on_hyphens=False) for text in (said, *caveats, summary["caveat"])]
    return "\n".join([aligned(rows), "", *lines])


def _known(figures: Mapping[str, float]) -> dict[str, float | None]:
    """Figures as JSON has them: null for what is missing."""
    return {name: None if math.isnan(value) else value for name, value in figures.items()}


def _place(each: ScoredImage) -> tuple[int, int]:
    """By which images of two methods are a pair, of the same noise."""
    return each.prompt.index, each.image.number


def _features(scored: Sequence[ScoredImage]) -> Tensor:
    rows = [each.outcome.details["features"] for each in scored]
    if not rows:
        raise ValueError("score fidelity: no image can be read of those that others are held against, or of the others")
    return torch.tensor(rows, dtype=torch.float64)
