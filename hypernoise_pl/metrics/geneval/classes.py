"""GenEval's object classes: the 80 of COCO, three with other names."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

COCO_NAMES = {"mouse": "computer mouse", "remote": "tv remote", "keyboard": "computer keyboard"}  # COCO's -> GenEval's


@cache
def class_names() -> tuple[str, ...]:
    """GenEval's class names in COCO's order."""
    return tuple(files("hypernoise_pl.metrics.geneval").joinpath("classes.txt").read_text().split("\n")[:-1])
