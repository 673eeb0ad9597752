"""GenEval's verdict on one image, from detections and the prompt's clauses. Pure, and free of any detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

POSITION_THRESHOLD = 0.1  # share of the two sizes by which an offset is reduced before it counts
DIRECTION_THRESHOLD = 0.5  # of the unit offset along an axis


@dataclass(frozen=True)
class Detection:
    """One object found in an image.

    Args:
        name: its class.
        box: left, top, right, bottom; y grows downwards.
        colour: the colour it was given; None if not asked.
    """

    name: str
    box: tuple[float, float, float, float]
    colour: str | None = None


def is_correct(detections: Sequence[Detection], clauses: Mapping[str, Any]) -> bool:
    """GenEval's rule.

    Args:
        detections: most confident first.
        clauses: ``include``, a list of ``{class, count, color?, position?: [relation, index]}``, and ``exclude``, a
            list of ``{class, count}`` that forbids that many or more.

    Returns:
        Whether every clause holds. Objects of a class are taken in order of confidence, as many as a clause counts;
        a relation must hold from every object of the group at ``index`` to every object of this clause.

    Source: Ghosh et al. 2023 (GenEval), reference evaluation.
    """
    groups: list[list[Detection]] = []
    for clause in clauses.get("include", ()):
        found = [d for d in detections if d.name == clause["class"]][: clause["count"]]
        groups.append(found)
        if len(found) < clause["count"]:
            return False
        if "color" in clause and sum(d.colour == clause["color"] for d in found) < clause["count"]:
            return False
        if "position" in clause:
            wanted, index = clause["position"]
            if not all(wanted in relations(one, other) for one in found for other in groups[index]):
                return False
    return all(
        sum(d.name == clause["class"] for d in detections) < clause["count"] for clause in clauses.get("exclude", ())
    )


def relations(one: Detection, other: Detection) -> set[str]:
    """Where one object stands, seen from another: any of ``left of``, ``right of``, ``above``, ``below``."""
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
    found = {
        "left of": dx < -DIRECTION_THRESHOLD,
        "right of": dx > DIRECTION_THRESHOLD,
        "above": dy < -DIRECTION_THRESHOLD,
        "below": dy > DIRECTION_THRESHOLD,
    }
    return {name for name, true in found.items() if true}
