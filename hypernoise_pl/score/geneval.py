"""GenEval's verdicts from a file of detections, of any detector."""

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
from hypernoise_pl.score.left_out import LeftOut
from hypernoise_pl.score.pictures import Unreadable, read_image
from hypernoise_pl.types import Prompt


def score(
    detections: Path, metadata: Path, folder: Path | None = None, colours: ClipColours | None = None
) -> tuple[list[ScoredImage], list[LeftOut], list[Prompt]]:
    """Judge every image of a file of detections.

    Args:
        detections: file, as ``read_detections`` takes it.
        metadata: GenEval's ``evaluation_metadata.jsonl``.
        folder: of the images, in GenEval's layout; None where nobody has to look at them.
        colours: what names the colours that the detections lack, where the images are given.

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
    found = [filter_detections(image.objects, prompts[image.prompt].tag) for image in images]
    if folder is None or colours is None:
        _check_colours(images, found, prompts, detections)
    for image, own in zip(images, found):
        prompt = prompts[image.prompt]
        file = ImageFile(
            (folder or Path()) / GenEvalFolder().name(prompt, image.number), prompt, image.number, image.name
        )
        try:
            own = own if folder is None or colours is None else _coloured(file, own, colours)
        except Unreadable as error:
            left.append(LeftOut(image.name, image.line, str(error)))
            continue
        decided = verdict(own, prompt.metadata)
        details = {"boxes": boxes_of(own)}
        scored.append(ScoredImage(file, prompt, Outcome(float(decided.correct), decided.reason, details=details)))
    return scored, left, prompts


def _lacking(found: Sequence[Detection], prompt: Prompt) -> list[int]:
    """Places of the objects whose colour the verdict needs and that have none."""
    places = []
    for clause in prompt.metadata["include"]:
        own = clause_objects(found, clause)
        if "color" in clause and len(own) == clause["count"]:
            places += [place for place, each in enumerate(found) if any(each is one for one in own)]
    return [place for place in dict.fromkeys(places) if found[place].colour is None]


def _coloured(file: ImageFile, found: Sequence[Detection], colours: ClipColours) -> list[Detection]:
    """The objects of an image, with the colours that its verdict needs."""
    places = _lacking(found, file.prompt)
    if not places:
        return list(found)
    pixels = read_image(file)
    named = dict(zip(places, colours([(pixels, DetectedObject(found[place])) for place in places]), strict=True))
    return [replace(each, colour=named.get(place, each.colour)) for place, each in enumerate(found)]


def _check_colours(
    images: Sequence[DetectedImage],
    kept_in: Sequence[Sequence[Detection]],
    prompts: Sequence[Prompt],
    detections: Path,
) -> None:
    """Refuse images whose verdict needs a colour that the detections do not have: nobody has looked at it."""
    lacking = [
        (image, own[places[0]].name)
        for image, own in zip(images, kept_in)
        if (places := _lacking(own, prompts[image.prompt]))
    ]
    if lacking:
        image, name = lacking[0]
        raise ValueError(
            f"detections {detections}: {len(lacking)} of {len(images)} images have an object whose color a prompt asks "
            f"for, without it; the first is {name!r} in {image.name} (line {image.line}); give each such object "
            f'"color", one of {", ".join(COLOURS)}, or give the folder of the images too'
        )
