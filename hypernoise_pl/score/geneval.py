"""GenEval's verdicts and figures, from detections and the benchmark's metadata."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from hypernoise_pl.data.geneval import TAGS, GenEvalFile
from hypernoise_pl.metrics.geneval.classes import class_names
from hypernoise_pl.metrics.geneval.results import CAVEAT, boxes_of, result
from hypernoise_pl.metrics.geneval.rules import COLOURS, Detection, Verdict, kept, taken, verdict
from hypernoise_pl.metrics.intervals import estimate
from hypernoise_pl.score.detections import DetectedImage, LeftOut, read_detections
from hypernoise_pl.types import Prompt


@dataclass(frozen=True)
class Scored:
    """One image with its verdict.

    Args:
        image: its name, place and detections.
        prompt: with its clauses.
        found: the detections that count, most confident first.
        verdict: on the image.
    """

    image: DetectedImage
    prompt: Prompt
    found: list[Detection]
    verdict: Verdict

    def result(self) -> dict[str, Any]:
        """A line of the reference evaluation's ``results.jsonl``."""
        return result(self.image.name, self.prompt, self.verdict, boxes_of(self.found))


def score(detections: Path, metadata: Path) -> tuple[list[Scored], list[LeftOut], list[Prompt]]:
    """Judge every image of a file of detections.

    Args:
        detections: file, as ``read_detections`` takes it.
        metadata: GenEval's ``evaluation_metadata.jsonl``.

    Returns:
        The images with their verdicts, in the order of prompts; what was left out; and the prompts.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if the metadata is wrong, no image is left, or an object that a clause on a colour is about has no
            colour.
    """
    prompts = GenEvalFile(str(metadata)).read(Path())
    clauses = [
        clause for prompt in prompts for part in ("include", "exclude") for clause in prompt.metadata.get(part, ())
    ]
    images, left = read_detections(detections, len(prompts), {*class_names(), *(clause["class"] for clause in clauses)})
    if not images:
        raise ValueError(
            f"detections {detections}: no image can be judged, {len(left)} are left out; the first: {left[0]}"
        )
    scored = []
    for image in images:
        prompt = prompts[image.prompt]
        found = kept(image.objects, prompt.tag)
        scored.append(Scored(image, prompt, found, verdict(found, prompt.metadata)))
    _check_colours(scored, detections)
    return scored, left, prompts


def _check_colours(scored: Sequence[Scored], detections: Path) -> None:
    """Refuse images whose verdict needs a colour that the detections do not have: nobody has looked at it."""
    lacking: list[tuple[DetectedImage, str]] = []
    for each in scored:
        for clause in each.prompt.metadata["include"]:
            found = taken(each.found, clause)
            asked = "color" in clause and len(found) == clause["count"]
            if asked and any(detection.colour is None for detection in found):
                lacking.append((each.image, clause["class"]))
                break
    if lacking:
        image, name = lacking[0]
        raise ValueError(
            f"detections {detections}: {len(lacking)} of {len(scored)} images have an object whose color a prompt asks "
            f"for, without it; the first is {name!r} in {image.name} (line {image.line}); give each such object "
            f'"color", one of {", ".join(COLOURS)}'
        )


def summarise(
    scored: Sequence[Scored], left: Sequence[LeftOut], prompts: Sequence[Prompt], detector: str
) -> dict[str, Any]:
    """The figures, as ``summary.json`` has them.

    Args:
        scored: images with their verdicts; at least one.
        left: what was left out.
        prompts: of the benchmark.
        detector: what found the objects, in words.

    Returns:
        ``score``, the mean over tags of the share of correct images, with its 95 % ``interval`` (None where a tag has a
        single prompt); ``tags``, each one's ``score``, ``interval``, ``images``, ``correct`` and ``prompts`` (None and
        0 for a tag of the benchmark without an image); ``images`` and ``prompts`` that were judged, ``prompts_of`` all;
        the share ``correct_images`` of images, and ``correct_prompts`` of prompts with a correct image;
        ``images_left_out`` and ``lines_left_out``, the lines that name no image, and of both ``left_out``, each with
        ``image``, ``line`` and ``why``; ``detector`` and ``caveat``.
    """
    every = {prompt.tag for prompt in prompts}
    judged = {each.prompt.index for each in scored}
    correct = {each.prompt.index for each in scored if each.verdict.correct}
    return {
        "benchmark": "geneval",
        "detector": detector,
        **_figures(scored),
        "tags": {tag: _figures([each for each in scored if each.prompt.tag == tag]) for tag in TAGS if tag in every},
        "prompts_of": len(prompts),
        "correct_images": sum(each.verdict.correct for each in scored) / len(scored),
        "correct_prompts": len(correct) / len(judged),
        "images_left_out": len({each.image for each in left} - {None}),
        "lines_left_out": sum(each.image is None for each in left),
        "left_out": [asdict(each) for each in left],
        "caveat": CAVEAT,
    }


def _figures(scored: Sequence[Scored]) -> dict[str, Any]:
    right = [each.verdict.correct for each in scored]
    places, tags = [each.prompt.index for each in scored], [each.prompt.tag for each in scored]
    figure = estimate(torch.tensor(right, dtype=torch.float64), places, tags)
    return {
        "score": figure.mean if scored else None,
        "interval": figure.interval,
        "images": len(scored),
        "correct": sum(right),
        "prompts": len({*places}),
    }
