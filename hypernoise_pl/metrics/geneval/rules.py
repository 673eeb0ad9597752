"""GenEval's rules: the verdict on an image from its detections and the prompt's clauses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypernoise_pl.metrics.judge import Verdict

THRESHOLD, COUNTING_THRESHOLD = 0.3, 0.9  # exclusive thresholds of confidence; the second for the tag ``counting``
MOST = 16  # largest number of objects of a class
POSITION_THRESHOLD = 0.1  # share of the two sizes that is subtracted from an offset
DIRECTION_THRESHOLD = 0.5  # of the unit offset along an axis
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
RELATIONS = ("left of", "right of", "above", "below")


@dataclass(frozen=True)
class Detection:
    """One detected object.

    Args:
        name: class.
        box: left, top, right, bottom in pixels; y grows downwards.
        colour: classified colour; None if not classified.
        score: confidence in [0, 1].
    """

    name: str
    box: tuple[float, float, float, float]
    colour: str | None = None
    score: float = 1.0


def filter_detections(detections: Sequence[Detection], tag: str) -> list[Detection]:
    """Detections above the confidence threshold, at most 16 per class, most confident first.

    Args:
        detections: detections in any order.
        tag: tag of the prompt; ``counting`` has a higher threshold.

    Returns:
        The kept detections. Of two with equal confidence, the later in the list comes first. The reference evaluation
        reverses numpy's unstable sort; with a stable sort both agree.
    """
    threshold = COUNTING_THRESHOLD if tag == "counting" else THRESHOLD
    found: list[Detection] = []
    counts: dict[str, int] = {}
    for detection in sorted(reversed(detections), key=lambda each: -each.score):
        counts[detection.name] = counts.get(detection.name, 0) + 1
        if detection.score > threshold and counts[detection.name] <= MOST:
            found.append(detection)
    return found


def verdict(detections: Sequence[Detection], clauses: Mapping[str, Any]) -> Verdict:
    """GenEval's verdict.

    Args:
        detections: result of ``filter_detections``.
        clauses: ``include``, a list of ``{class, count, color?, position?: [relation, index]}``, and ``exclude``, a
            list of ``{class, count}`` that forbids that many or more.

    Returns:
        Whether every clause holds, and the reasons. A clause takes the ``count`` most confident objects of its class; a
        relation must hold between every object of this clause and every object of the earlier clause at ``index``. The
        reason lists the relations of the first pair that violates it, in the order of ``RELATIONS`` (random in the
        reference evaluation), or none if the two objects are close.

    Source: Ghosh et al. 2023 (GenEval), reference evaluation.
    """
    reasons: list[str] = []
    groups: list[list[Detection] | None] = []  # of each clause; None where it does not hold
    for clause in clauses.get("include", ()):
        found = clause_objects(detections, clause)
        reason = _lack(found, clause, groups)
        groups.append(None if reason else found)
        reasons += [reason] if reason else []
    for clause in clauses.get("exclude", ()):
        count = sum(detection.name == clause["class"] for detection in detections)
        if count >= clause["count"]:
            reasons.append(f"expected {clause['class']}<{clause['count']}, found {count}")
    return Verdict(not reasons, "\n".join(reasons))


def clause_objects(detections: Sequence[Detection], clause: Mapping[str, Any]) -> list[Detection]:
    """The objects of an ``include`` clause: the ``count`` most confident of its class."""
    return [detection for detection in detections if detection.name == clause["class"]][: clause["count"]]


def _lack(found: list[Detection], clause: Mapping[str, Any], groups: Sequence[list[Detection] | None]) -> str:
    """Reason why an ``include`` clause is violated; empty if it holds."""
    name, count = clause["class"], clause["count"]
    if len(found) < count:
        return f"expected {name}>={count}, found {len(found)}"
    if "color" in clause:
        colours = [detection.colour for detection in found]
        right = colours.count(clause["color"])
        if right < count:
            seen = ", ".join(f"{colours.count(colour)} {colour}" for colour in COLOURS if colour in colours)
            return f"expected {clause['color']} {name}>={count}, found {right} {clause['color']}; and {seen}"
    if "position" in clause:
        wanted, index = clause["position"]
        targets = groups[index]
        if targets is None:
            return f"no target for {name} to be {wanted}"
        for one in found:
            for target in targets:
                seen_relations = relations(one, target)
                if wanted not in seen_relations:
                    words = " and ".join(relation for relation in RELATIONS if relation in seen_relations)
                    return f"expected {name} {wanted} target, found {words} target"
    return ""


def relations(one: Detection, other: Detection) -> set[str]:
    """Position of one object relative to another: a subset of ``RELATIONS``."""
    offset, reduced = [], []
    for low, high in ((0, 2), (1, 3)):
        gap = (one.box[low] + one.box[high] - other.box[low] - other.box[high]) / 2
        size = one.box[high] - one.box[low] + other.box[high] - other.box[low]
        offset.append(gap)
        reduced.append(max(abs(gap) - POSITION_THRESHOLD * size, 0.0) * (1 if gap > 0 else -1))
    if max(map(abs, reduced)) < 1e-3:
        return set()
    length = (offset[0] ** 2 + offset[1] ** 2) ** 0.5
    dx, dy = reduced[0] / length, reduced[1] / length
    along = (dx < -DIRECTION_THRESHOLD, dx > DIRECTION_THRESHOLD, dy < -DIRECTION_THRESHOLD, dy > DIRECTION_THRESHOLD)
    return {relation for relation, true in zip(RELATIONS, along, strict=True) if true}
