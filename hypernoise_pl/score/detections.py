"""A file of detections, an image a line, from any detector; what of it cannot be used, and why."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as brief
from typing import Any

from hypernoise_pl.data.text_file import read_text
from hypernoise_pl.metrics.geneval.classes import COCO_NAMES
from hypernoise_pl.metrics.geneval.rules import COLOURS, Detection
from hypernoise_pl.score.left_out import LeftOut
from hypernoise_pl.types import did_you_mean

LAYOUT = re.compile(r"(?:.*/)?(\d{1,9})/samples/(\d{1,9})\.png")
FAR = 1e9  # pixels; no side of a box lies farther out


@dataclass(frozen=True)
class DetectedImage:
    """The objects found in one image.

    Args:
        name: of its file, as the detections have it.
        prompt: index of its prompt, the folder of the image.
        number: of the image among its prompt's, the name of the file.
        line: of the detections.
        objects: in the file's order.
    """

    name: str
    prompt: int
    number: int
    line: int
    objects: tuple[Detection, ...]

    @property
    def place(self) -> tuple[int, int]:
        """Its prompt and number, by which images are told apart."""
        return self.prompt, self.number


class _Unusable(ValueError):
    """Why a line cannot be used."""


def read_detections(file: Path, prompts: int, classes: Collection[str]) -> tuple[list[DetectedImage], list[LeftOut]]:
    """Read a file of detections.

    A line is ``{"filename": "00000/samples/0000.png", "objects": [{"class": "bench", "score": 0.93, "box": [left, top,
    right, bottom], "color": "red"}]}``; boxes are in pixels, the colour may be left out, and so may what comes before
    the last three parts of the name.

    Args:
        file: JSONL, or gzip of it by its ending.
        prompts: prompts of the benchmark.
        classes: names of classes; COCO's own names of three of GenEval's are taken too.

    Returns:
        The images that can be judged, in the order of prompts; and, in the order of the file, what cannot be: lines
        that are wrong, images named twice (neither line is taken), and after them the images that have no line, of
        those numbers that some prompt has.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no text, or all its boxes lie in [0, 1].
    """
    if file.is_dir():
        raise ValueError(f"detections {file}: a folder; give a file")
    if not file.is_file():
        raise FileNotFoundError(f"detections {file}: no such file")
    images: list[DetectedImage] = []
    left: list[LeftOut] = []
    named: dict[tuple[int, int], list[int]] = {}  # place -> lines
    # not splitlines(), which also cuts at U+2028 and the like, that a JSON string may hold
    for number, line in enumerate(read_text(file, "detections", "line").split("\n"), 1):
        if not line.strip():
            continue
        name = None
        try:
            fields = _fields(line)
            place = _place(fields, prompts)
            name = _name(place)
            lines = named.setdefault(place, [])
            lines.append(number)
            if len(lines) > 1:
                raise _Unusable(f"named twice, first in line {lines[0]}; neither is taken")
            images.append(DetectedImage(fields["filename"], *place, number, _objects(fields, classes)))
        except _Unusable as error:
            left.append(LeftOut(name, number, str(error)))
    found = sorted((each for each in images if len(named[each.place]) == 1), key=lambda each: each.place)
    left += _missing(named, prompts, file.name)
    _check_pixels(found, file)
    return found, left


def _missing(named: Collection[tuple[int, int]], prompts: int, file: str) -> list[LeftOut]:
    """Images that no line names, of those numbers that some prompt has."""
    numbers = sorted({number for _, number in named})
    wanted = ((prompt, number) for prompt in range(prompts) for number in numbers if (prompt, number) not in named)
    return [LeftOut(_name(place), None, f"no line of {file} has it") for place in wanted]


def _name(place: tuple[int, int]) -> str:
    prompt, number = place
    return f"{prompt:05}/samples/{number:04}.png"


def _fields(line: str) -> dict[str, Any]:
    try:
        fields = json.loads(line)
    except json.JSONDecodeError as error:
        raise _Unusable(f"not JSON: {error.msg} at column {error.colno}") from error
    if not isinstance(fields, dict) or not isinstance(fields.get("filename"), str):
        names = [*fields] if isinstance(fields, dict) else []
        raise _Unusable(f'needs an object with a text "filename"{did_you_mean("filename", names)}')
    return fields


def _place(fields: dict[str, Any], prompts: int) -> tuple[int, int]:
    name = fields["filename"]
    found = LAYOUT.fullmatch(name)
    if found is None:
        raise _Unusable(f"filename {name!r}: must end as 00000/samples/0000.png does")
    prompt, number = int(found[1]), int(found[2])
    if prompt >= prompts:
        raise _Unusable(f"filename {name!r}: no prompt {prompt} in the metadata, which has 0 to {prompts - 1}")
    return prompt, number


def _objects(fields: dict[str, Any], classes: Collection[str]) -> tuple[Detection, ...]:
    objects = fields.get("objects")
    if not isinstance(objects, list):
        raise _Unusable(f'needs a list "objects", which may be empty{did_you_mean("objects", fields)}')
    return tuple(_object(each, f"object {number}", classes) for number, each in enumerate(objects, 1))


def _object(fields: Any, where: str, classes: Collection[str]) -> Detection:
    if not isinstance(fields, dict):
        raise _Unusable(f"{where}: must be an object with class, score and box, got {brief(fields)}")
    for key in ("class", "score", "box"):
        if key not in fields:
            raise _Unusable(f'{where}: has no "{key}"{did_you_mean(key, fields)}')
    name, score, colour = fields["class"], fields["score"], fields.get("color")
    if not isinstance(name, str):
        raise _Unusable(f"{where}: class must be a name, got {brief(name)}")
    if name not in classes:
        if COCO_NAMES.get(name) not in classes:
            raise _Unusable(f"{where}: no class {name!r} in GenEval{did_you_mean(name, classes)}")
        name = COCO_NAMES[name]
    if not _is_number(score) or not 0 <= score <= 1:
        raise _Unusable(f"{where}, {name}: score must be in 0 to 1, got {brief(score)}")
    if colour is not None and colour not in COLOURS:
        hint = did_you_mean(colour, COLOURS) if isinstance(colour, str) else ""
        raise _Unusable(f"{where}, {name}: no color {colour!r} in GenEval{hint}; colors: {', '.join(COLOURS)}")
    return Detection(name, _box(fields["box"], f"{where}, {name}"), colour, float(score))


def _box(box: Any, where: str) -> tuple[float, float, float, float]:
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        raise _Unusable(f"{where}: box must be four numbers, got {brief(box)}")
    left, top, right, bottom = map(float, box)
    if right < left or bottom < top:
        raise _Unusable(f"{where}: box must be left, top, right, bottom, got {brief(box)}; is it x, y, width, height?")
    return left, top, right, bottom


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < FAR


def _check_pixels(images: Sequence[DetectedImage], file: Path) -> None:
    sides = [side for image in images for each in image.objects for side in each.box]
    if sides and min(sides) >= 0 and max(sides) <= 1:
        raise ValueError(f"detections {file}: all boxes lie in 0 to 1; give pixels: multiply by width and height")
