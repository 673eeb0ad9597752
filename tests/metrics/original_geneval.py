"""GenEval's procedure, read anew from its description: thresholds, sorting, clauses, relations and the words of reasons."""

from typing import Any

import numpy as np

TEN = ["red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white"]


def reread(objects: list[dict[str, Any]], metadata: dict[str, Any]) -> tuple[bool, str]:
    """Verdict and reason of one image.

    Args:
        objects: ``class``, ``score``, ``box`` and, where it is needed, ``color``, in any order.
        metadata: the prompt's line.
    """
    least = {"counting": 0.9}.get(metadata["tag"], 0.3)
    scores = np.array([each["score"] for each in objects])
    ranked = [objects[place] for place in np.argsort(scores, kind="stable")[::-1] if scores[place] > least]

    def of(name: str) -> list[dict[str, Any]]:
        return [each for each in ranked if each["class"] == name][:16]

    said, whole = [], {}
    for number, clause in enumerate(metadata["include"]):
        name, count, colour = clause["class"], clause["count"], clause.get("color")
        own = of(name)[:count]
        painted = [each.get("color") for each in own]
        if len(own) != count:
            said += [f"expected {name}>={count}, found {len(own)}"]
            continue
        if colour and painted != [colour] * count:
            tally = ", ".join(f"{painted.count(each)} {each}" for each in TEN if each in painted)
            said += [f"expected {colour} {name}>={count}, found {painted.count(colour)} {colour}; and {tally}"]
            continue
        if "position" in clause:
            side, target = clause["position"]
            if target not in whole:
                said += [f"no target for {name} to be {side}"]
                continue
            pairs = [where(one["box"], other["box"]) for one in own for other in whole[target]]
            wrong = [sides for sides in pairs if side not in sides]
            if wrong:
                said += [f"expected {name} {side} target, found {' and '.join(wrong[0])} target"]
                continue
        whole[number] = own
    for clause in metadata.get("exclude", []):
        if len(of(clause["class"])) >= clause["count"]:
            said += [f"expected {clause['class']}<{clause['count']}, found {len(of(clause['class']))}"]
    return said == [], "\n".join(said)


def where(one: list[float], other: list[float]) -> list[str]:
    """The relations of a box to another: sideways first."""
    corners = np.array([one, other], dtype=float).reshape(2, 2, 2)  # box, corner, axis
    offset = np.subtract(*corners.mean(1))
    margin = 0.1 * (corners[:, 1] - corners[:, 0]).sum(0)
    shortened = np.sign(offset) * np.clip(np.abs(offset) - margin, 0, None)
    if (np.abs(shortened) < 1e-3).all():
        return []
    x, y = shortened / np.hypot(*offset)
    cases = {"left of": -x, "right of": x, "above": -y, "below": y}
    return [name for name, along in cases.items() if along > 0.5]
