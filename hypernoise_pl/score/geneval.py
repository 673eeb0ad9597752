"""GenEval's verdicts from a file of detections, of any detector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hypernoise_pl.data.geneval import GenEvalFile
from hypernoise_pl.metrics.benchmark import Outcome, Scored
from hypernoise_pl.metrics.geneval.classes import class_names
from hypernoise_pl.metrics.geneval.results import boxes_of
from hypernoise_pl.metrics.geneval.rules import COLOURS, Detection, kept, taken, verdict
from hypernoise_pl.metrics.image_files import ImageFile
from hypernoise_pl.score.detections import DetectedImage, read_detections
from hypernoise_pl.score.left_out import LeftOut
from hypernoise_pl.types import Prompt


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
    found = [kept(image.objects, prompts[image.prompt].tag) for image in images]
    _check_colours(images, found, prompts, detections)
    return [_scored(image, prompts[image.prompt], own) for image, own in zip(images, found)], left, prompts


def _scored(image: DetectedImage, prompt: Prompt, found: Sequence[Detection]) -> Scored:
    decided = verdict(found, prompt.metadata)
    file = ImageFile(Path(image.name), prompt, image.number, image.name)
    return Scored(file, prompt, Outcome(float(decided.correct), decided.reason, details={"boxes": boxes_of(found)}))


def _check_colours(
    images: Sequence[DetectedImage],
    kept_in: Sequence[Sequence[Detection]],
    prompts: Sequence[Prompt],
    detections: Path,
) -> None:
    """Refuse images whose verdict needs a colour that the detections do not have: nobody has looked at it."""
    lacking: list[tuple[DetectedImage, str]] = []
    for image, own in zip(images, kept_in):
        for clause in prompts[image.prompt].metadata["include"]:
            found = taken(own, clause)
            asked = "color" in clause and len(found) == clause["count"]
            if asked and any(detection.colour is None for detection in found):
                lacking.append((image, clause["class"]))
                break
    if lacking:
        image, name = lacking[0]
        raise ValueError(
            f"detections {detections}: {len(lacking)} of {len(images)} images have an object whose color a prompt asks "
            f"for, without it; the first is {name!r} in {image.name} (line {image.line}); give each such object "
            f'"color", one of {", ".join(COLOURS)}'
        )
