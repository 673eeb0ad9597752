"""``score fidelity``: compares sets of images with a reference set by their features."""

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
from hypernoise_pl.score.left_out import LeftOut, count_left_out
from hypernoise_pl.score.sources import Images, find_images
from hypernoise_pl.score.table import WIDTH

AGAINST = "(against)"  # method name of the reference images


def add_reference(images: Images, path: Path | None) -> tuple[Images, str]:
    """Add the reference images to the images to measure.

    Args:
        images: images to measure.
        path: folder or file of the reference images; None to take the first of several methods.

    Returns:
        All images, and the method name of the reference images.

    Raises:
        ValueError: if there are no reference images.
    """
    if path is not None:
        reference = find_images(path, FidelityBenchmark.folder, None)
        files = [replace(image, made_by=AGAINST) for image in reference.files]
        left_out = [replace(item, method=AGAINST) for item in reference.left_out]
        return Images([*images.files, *files], [*images.left_out, *left_out], images.prompts), AGAINST
    methods = list(dict.fromkeys(image.made_by for image in images.files))
    if len(methods) < 2:
        raise ValueError("score fidelity: the reference images are missing; give their folder: --against DIR")
    return images, methods[0]


def summarise(scored: Sequence[ScoredImage], left_out: Sequence[LeftOut], against: str) -> dict[str, Any]:
    """Compute the figures of each method against the reference images.

    Args:
        scored: images with their features.
        left_out: images and lines that enter no figure.
        against: method name of the reference images.

    Returns:
        ``methods``: method -> its ``figures``, ``images``, ``against`` and ``caveats``, a method that is the reference
        has its own diversity only; and the counts of ``count_left_out``.
    """
    reference = [item for item in scored if item.image.made_by == against]
    reference_features = _features(reference)
    methods: dict[str, Any] = {}
    if against != AGAINST:
        alone = diversity(reference_features, [item.prompt.index for item in reference])
        methods[against] = {"figures": _without_nan(alone), "images": len(reference), "against": None, "caveats": []}
    for name in dict.fromkeys(item.image.made_by for item in scored if item.image.made_by != against):
        own = [item for item in scored if item.image.made_by == name]
        paired = against != AGAINST and [*map(_pair_key, own)] == [*map(_pair_key, reference)]
        measured = Fidelity.of(_features(own), reference_features, [item.prompt.index for item in own], paired)
        sizes = {"images": measured.images, "against": measured.against}
        caveats = list(measured.caveats)
        methods[name or "images"] = {"figures": _without_nan(measured.figures), **sizes, "caveats": caveats}
    return {"methods": methods, **count_left_out(left_out)}


def table(summary: Mapping[str, Any]) -> str:
    """The figures in plain text, one column per method, and notes below."""
    methods = summary["methods"]
    rows = [("", *methods)]
    names = dict.fromkeys(name for own in reversed(methods.values()) for name in own["figures"])
    for name in names:
        values = [own["figures"].get(name) for own in methods.values()]
        rows.append((name.replace("_", " "), *("-" if value is None else f"{value:.4g}" for value in values)))
    for name in ("images", "against"):
        rows.append((name, *("-" if own[name] is None else str(own[name]) for own in methods.values())))
    note = f"{summary['title']} by {summary['judged_by']}, against {summary['against']}."
    caveats = dict.fromkeys(caveat for own in methods.values() for caveat in own["caveats"])
    lines = [fill(text, WIDTH, break_on_hyphens=False) for text in (note, *caveats, summary["caveat"])]
    return "\n".join([aligned(rows), "", *lines])


def _without_nan(figures: Mapping[str, float]) -> dict[str, float | None]:
    """Figures for JSON: None in the place of NaN."""
    return {name: None if math.isnan(value) else value for name, value in figures.items()}


def _pair_key(item: ScoredImage) -> tuple[int, int]:
    """Prompt index and number of an image; images of two methods with the same key share the noise."""
    return item.prompt.index, item.image.number


def _features(scored: Sequence[ScoredImage]) -> Tensor:
    rows = [item.outcome.details["features"] for item in scored]
    if not rows:
        raise ValueError("score fidelity: one of the two sets has no readable image; check IMAGES and --against")
    return torch.tensor(rows, dtype=torch.float64)
