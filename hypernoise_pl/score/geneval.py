"""GenEval's verdicts from a file of any detector's detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hypernoise_pl.data.geneval import GenEvalFile
from hypernoise_pl.metrics.benchmark import Outcome, ScoredImage
from hypernoise_pl.metrics.geneval.classes import class_names
from hypernoise_pl.metrics.geneval.colours import ClipColours
from hypernoise_pl.metrics.geneval.detector import DetectedObject
from hypernoise_pl.metrics.geneval.results import boxes_of
from hypernoise_pl.metrics.geneval.rules import COLOURS, Detection, clause_objects, filter_detections, verdict
from hypernoise_pl.metrics.image_files import GenEvalFolder, ImageFile
from hypernoise_pl.score.detections import DetectedImage, read_detections
from hypernoise_pl.score.image_reader import Unreadable, read_image
from hypernoise_pl.score.left_out import LeftOut
from hypernoise_pl.types import Prompt


def score_detections(
    detections: Path, metadata: Path, folder: Path | None = None, colours: ClipColours | None = None
) -> tuple[list[ScoredImage], list[LeftOut], list[Prompt]]:
    """Judge every image of a file of detections.

    Args:
        detections: file in the format of ``read_detections``.
        metadata: GenEval's ``evaluation_metadata.jsonl``.
        folder: folder of the images in GenEval's layout; None if the images are not needed.
        colours: model that names missing colours; it needs ``folder``.

    Returns:
        Images with their verdicts, in the order of prompts; what is left out; and the prompts.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if the metadata is wrong, no image can be judged, or a verdict needs a missing colour.
    """
    prompts = GenEvalFile(str(metadata)).read(Path())
    clauses = [
        clause for prompt in prompts for part in ("include", "exclude") for clause in prompt.metadata.get(part, ())
    ]
    images, left_out = read_detections(
        detections, len(prompts), {*class_names(), *(clause["class"] for clause in clauses)}
    )
    if not images:
        raise ValueError(
            f"detections {detections}: no image can be judged, {len(left_out)} are left out; the first: {left_out[0]}"
        )
    scored = []
    detected = [filter_detections(image.objects, prompts[image.prompt].tag) for image in images]
    if folder is None or colours is None:
        _check_colours(images, detected, prompts, detections)
    for image, objects in zip(images, detected):
        prompt = prompts[image.prompt]
        file = ImageFile(
            (folder or Path()) / GenEvalFolder().name(prompt, image.number), prompt, image.number, image.name
        )
        try:
            if folder is not None and colours is not None:
                objects = _add_colours(file, objects, colours)
        except Unreadable as error:
            left_out.append(LeftOut(image.name, image.line, str(error)))
            continue
        decided = verdict(objects, prompt.metadata)
        details = {"boxes": boxes_of(objects)}
        scored.append(ScoredImage(file, prompt, Outcome(float(decided.correct), decided.reason, details=details)))
    return scored, left_out, prompts


def _uncoloured(objects: Sequence[Detection], prompt: Prompt) -> list[int]:
    """Indices of the objects whose missing colour the verdict needs."""
    indices: list[int] = []
    for clause in prompt.metadata["include"]:
        matching = clause_objects(objects, clause)
        if "color" in clause and len(matching) == clause["count"]:
            indices += [index for index, item in enumerate(objects) if any(item is match for match in matching)]
    return [index for index in dict.fromkeys(indices) if objects[index].colour is None]


def _add_colours(file: ImageFile, objects: Sequence[Detection], colours: ClipColours) -> list[Detection]:
    """The objects of an image with the colours that its verdict needs."""
    indices = _uncoloured(objects, file.prompt)
    if not indices:
        return list(objects)
    pixels = read_image(file)
    named = dict(zip(indices, colours([(pixels, DetectedObject(objects[index])) for index in indices]), strict=True))
    return [replace(item, colour=named.get(index, item.colour)) for index, item in enumerate(objects)]


def _check_colours(
    images: Sequence[DetectedImage],
    detected: Sequence[Sequence[Detection]],
    prompts: Sequence[Prompt],
    detections: Path,
) -> None:
    """Raise ``ValueError`` if a verdict needs a colour that the detections do not have."""
    missing = [
        (image, objects[indices[0]].name)
        for image, objects in zip(images, detected)
        if (indices := _uncoloured(objects, prompts[image.prompt]))
    ]
    if missing:
        image, name = missing[0]
        raise ValueError(
            f"detections {detections}: {len(missing)} of {len(images)} images have an object whose color a prompt asks "
            f"for, without it; the first is {name!r} in {image.name} (line {image.line}); give each such object "
            f'"color", one of {", ".join(COLOURS)}, or give the folder of the images too'
        )
