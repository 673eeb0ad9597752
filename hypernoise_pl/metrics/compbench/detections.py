"""Detections as T2I-CompBench uses them: class names, confidence threshold, scaled boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hypernoise_pl.metrics.geneval.rules import Detection

CONFIDENCE = 0.5  # exclusive threshold of a detection
SHORT, LONG = 479, 480  # pixels to which the reference evaluation scales an image's shorter and longer side
# the reference evaluation's own, and other names of the same thing in COCO
RENAMED = {"man": "person", "woman": "person", "boy": "person", "girl": "person", "ship": "boat"}
COCO = {
    "keyboard": "computer keyboard",
    "remote": "tv remote",
    "remote control": "tv remote",
    "sofa": "couch",
    "phone": "cell phone",
    "television": "tv",
    "table": "dining table",
}
OTHER_THINGS = {"mouse"}  # an animal in the prompts, a device in COCO


def class_of(word: str, classes: Sequence[str], names: Mapping[str, str]) -> str | None:
    """The detector's class for a word of a prompt; None if it has none.

    Args:
        word: singular noun.
        classes: classes of the detector.
        names: word -> class; it takes precedence.
    """
    for name in (names.get(word), RENAMED.get(word), None if word in OTHER_THINGS else word, COCO.get(word)):
        if name is not None and name in classes:
            return name
    return None


def select_detections(detections: Sequence[Detection], height: int, width: int) -> list[Detection]:
    """Confident detections, most confident first, with boxes in pixels of the scaled image."""
    factor = min(SHORT / min(height, width), LONG / max(height, width))
    sure = sorted((found for found in detections if found.score > CONFIDENCE), key=lambda found: -found.score)
    return [replace(found, box=_times(found.box, factor)) for found in sure]


def _times(box: tuple[float, float, float, float], factor: float) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    return left * factor, top * factor, right * factor, bottom * factor
