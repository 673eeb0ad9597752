"""T2I-CompBench's spatial score of two objects from detections."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hypernoise_pl.metrics.geneval.rules import Detection

LOCALITIES = (  # searched in this order
    "on side of",
    "next to",
    "near",
    "on the left of",
    "on the right of",
    "on the bottom of",
    "on the top of",
    "on top of",
)
CLOSE = LOCALITIES[:3]
DISTANCE, OVERLAP = 150.0, 0.1  # pixels within which two objects are near; largest IoU without a penalty
LEAST = 0.5  # a lower score counts as 0
# where the first object stands: axis, and the sign of the way from it to the second
_SIDES = {"on the left of": (0, 1), "on the right of": (0, -1), "on the top of": (1, 1), "on the bottom of": (1, -1)}


@dataclass(frozen=True)
class Relation:
    """A spatial relation of two objects.

    Args:
        one: first object.
        locality: relation, one of ``LOCALITIES``.
        other: second object.
    """

    one: str
    locality: str
    other: str


def relation_of(prompt: str) -> Relation | None:
    """The relation of a prompt like "a dog on the left of a cup"; None for another form."""
    found = locality_of(prompt)
    if found is None:
        return None
    match = re.fullmatch(rf"(?:an?|the)\s+(\w+)\s+{found}\s+(?:an?|the)\s+(\w+)\W*", prompt.strip().lower())
    return Relation(match[1], found, match[2]) if match else None


def locality_of(prompt: str) -> str | None:
    """The first of ``LOCALITIES`` in a prompt; None if there is none."""
    return next((words for words in LOCALITIES if words in prompt), None)


def position(locality: str, one: Sequence[float], other: Sequence[float]) -> float:
    """Score of two boxes for a locality, 0 to 1.

    Args:
        locality: relation of the first object to the second. ``on top of`` always scores 0: the reference evaluation
            finds it in prompts (those of ``complex``) and has no rule for it.
        one: left, top, right, bottom of the first object, in pixels of an image scaled as the reference evaluation
            scales it; y grows downwards.
        other: left, top, right, bottom of the second object.

    Returns:
        Near: 1 within 150 pixels along one axis, then 150 over the larger distance. A side: 0 unless the offset of the
        centres points there and is larger along that axis than along the other; then 1, or 0.1 over the intersection
        over union where that is at least 0.1.

    Source: Huang et al. 2023 (T2I-CompBench, arXiv 2307.06350), reference evaluation.
    """
    way = [(other[axis] + other[axis + 2] - one[axis] - one[axis + 2]) / 2 for axis in (0, 1)]
    if locality in CLOSE:
        if min(map(abs, way)) < DISTANCE:
            return 1.0
        return DISTANCE / max(map(abs, way))
    if locality not in _SIDES:
        return 0.0
    axis, sign = _SIDES[locality]
    if way[axis] * sign <= 0 or abs(way[axis]) <= abs(way[1 - axis]):
        return 0.0
    overlap = intersection_over_union(one, other)
    return 1.0 if overlap < OVERLAP else OVERLAP / overlap


def intersection_over_union(one: Sequence[float], other: Sequence[float]) -> float:
    """Shared area of two boxes over the area of both; 0 where both are empty."""
    shared = 1.0
    for low, high in ((0, 2), (1, 3)):
        shared *= max(0.0, min(one[high], other[high]) - max(one[low], other[low]))
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - shared
    return shared / union if union > 0 else 0.0


def spatial_score(detections: Sequence[Detection], relation: Relation) -> float:
    """A quarter of each object's confidence plus half of the position's score; 0 if the sum is below 1/2.

    Args:
        detections: most confident first; the first of a name counts.
        relation: relation, whose objects have the detector's class names.

    Source: as of ``position``.
    """
    one, other = (
        next((found for found in detections if found.name == name), None) for name in (relation.one, relation.other)
    )
    score = sum(0.25 * found.score for found in (one, other) if found is not None)
    if one is not None and other is not None:
        score += 0.5 * position(relation.locality, one.box, other.box)
    return score if score >= LEAST else 0.0
