"""Reads a file of detections from any detector, one image per line."""

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
MAX_COORDINATE = 1e9  # pixels


@dataclass(frozen=True)
class DetectedImage:
    """The objects that a detector finds in one image.

    Args:
        name: name of the image in the file of detections.
        prompt: index of its prompt, from the image's folder.
        number: number of the image among those of its prompt, from the image's name.
        line: line in the file of detections.
        objects: objects in the file's order.
    """

    name: str
    prompt: int
    number: int
    line: int
    objects: tuple[Detection, ...]

    @property
    def key(self) -> tuple[int, int]:
        """Prompt index and number, which identify an image."""
        return self.prompt, self.number


class _Unusable(ValueError):
    """A line that cannot be used; the message has the reason."""


def read_detections(file: Path, prompts: int, classes: Collection[str]) -> tuple[list[DetectedImage], list[LeftOut]]:
    """Read a file of detections.

    A line is ``{"filename": "00000/samples/0000.png", "objects": [{"class": "bench", "score": 0.93, "box": [left, top,
    right, bottom], "color": "red"}]}``; boxes are in pixels; the colour is optional, and so are the
    folders before the last three parts of the name.

    Args:
        file: JSONL file; with the suffix ``.gz`` compressed.
        prompts: number of prompts of the benchmark.
        classes: class names; COCO's names of GenEval's three renamed classes are accepted too.

    Returns:
        Images that can be judged, in the order of prompts; and what is left out, in the order of the file: wrong lines
        and images with two lines (both are left out), then missing images of the numbers that other prompts have.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not text, or all its boxes lie in [0, 1].
    """
    if file.is_dir():
        raise ValueError(f"detections {file}: a folder; give a file")
    if not file.is_file():
        raise FileNotFoundError(f"detections {file}: no such file")
    images: list[DetectedImage] = []
    left_out: list[LeftOut] = []
    lines_by_key: dict[tuple[int, int], list[int]] = {}
    # not splitlines(), which also splits at U+2028 and others that a JSON string may hold
    for number, line in enumerate(read_text(file, "detections", "line").split("\n"), 1):
        if not line.strip():
            continue
        name = None
        try:
            fields = _fields(line)
            key = _image_key(fields, prompts)
            name = _file_name(key)
            lines = lines_by_key.setdefault(key, [])
            lines.append(number)
            if len(lines) > 1:
                raise _Unusable(f"duplicate of line {lines[0]}; both lines are left out")
            images.append(DetectedImage(fields["filename"], *key, number, _objects(fields, classes)))
        except _Unusable as error:
            left_out.append(LeftOut(name, number, str(error)))
    unique = [image for image in images if len(lines_by_key[image.key]) == 1]
    left_out += _missing(lines_by_key, prompts, file.name)
    _check_pixels(unique, file)
    return sorted(unique, key=lambda image: image.key), left_out


def _missing(keys: Collection[tuple[int, int]], prompts: int, file: str) -> list[LeftOut]:
    """Images without a line, of the numbers that other prompts have."""
    numbers = sorted({number for _, number in keys})
    missing = ((prompt, number) for prompt in range(prompts) for number in numbers if (prompt, number) not in keys)
    return [LeftOut(_file_name(key), None, f"{file} has no line for this image") for key in missing]


def _file_name(key: tuple[int, int]) -> str:
    prompt, number = key
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


def _image_key(fields: dict[str, Any], prompts: int) -> tuple[int, int]:
    name = fields["filename"]
    match = LAYOUT.fullmatch(name)
    if match is None:
        raise _Unusable(f"filename {name!r}: must end as in 00000/samples/0000.png")
    prompt, number = int(match[1]), int(match[2])
    if prompt >= prompts:
        raise _Unusable(f"filename {name!r}: no prompt {prompt} in the metadata, which has 0 to {prompts - 1}")
    return prompt, number


def _objects(fields: dict[str, Any], classes: Collection[str]) -> tuple[Detection, ...]:
    objects = fields.get("objects")
    if not isinstance(objects, list):
        raise _Unusable(f'needs a list "objects", which may be empty{did_you_mean("objects", fields)}')
    return tuple(_object(item, f"object {number}", classes) for number, item in enumerate(objects, 1))


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
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < MAX_COORDINATE


def _check_pixels(images: Sequence[DetectedImage], file: Path) -> None:
    sides = [side for image in images for item in image.objects for side in item.box]
    if sides and min(sides) >= 0 and max(sides) <= 1:
        raise ValueError(f"detections {file}: all boxes lie in 0 to 1; give pixels: multiply by width and height")
