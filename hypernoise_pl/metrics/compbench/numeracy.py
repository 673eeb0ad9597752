"""T2I-CompBench's numeracy score from detections."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence

from hypernoise_pl.metrics.geneval.rules import Detection

NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8}
SAME = 0.9  # overlap above which two boxes of one class are one object


def counted_objects(prompt: str, objects: Mapping[str, str]) -> list[tuple[str, int]]:
    """Objects with their numbers, in the order of the prompt: a word of ``objects`` right after a number.

    Args:
        prompt: prompt, such as "three mice, a cup and two dogs sat in the sun".
        objects: singular or plural -> singular; other words are ignored.

    Returns:
        Singular and number of each.
    """
    words = re.findall(r"\w+|[^\w\s]", prompt)
    pairs = itertools.pairwise(words)
    return [(objects[noun], NUMBERS[number]) for number, noun in pairs if number in NUMBERS and noun in objects]


def remove_duplicates(detections: Sequence[Detection]) -> list[Detection]:
    """Remove detections that overlap an earlier one of the same class.

    Two boxes are one object where they share more than 0.9 of both together, or of either; sizes count a pixel more
    than the difference of the edges, as in the reference evaluation.
    """
    found: list[Detection] = []
    for detection in detections:
        if not any(detection.name == other.name and _same(detection.box, other.box) for other in found):
            found.append(detection)
    return found


def count_score(names: Sequence[str], wanted: Sequence[tuple[str, int]]) -> float:
    """Mean over the wanted objects of 1/2 for presence plus 1/2 for the correct number.

    Args:
        names: classes of the detected objects, without duplicates.
        wanted: name and number of each; at least one. A name that nothing has stands for every name that contains it
            (``bear`` for ``teddy bear``), as in the reference evaluation.

    Returns:
        0 to 1.

    Source: Huang et al. 2025 (T2I-CompBench++), reference evaluation.
    """
    score, there = 0.0, list(names)
    for name, number in wanted:
        if name not in there:
            there = [name if name in found else found for found in there]
        score += 0.5 * (name in there) + 0.5 * (there.count(name) == number)
    return score / len(wanted)


def _same(one: Sequence[float], other: Sequence[float]) -> bool:
    width, height = (max(0.0, min(one[k + 2], other[k + 2]) - max(one[k], other[k]) + 1) for k in (0, 1))
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (one, other)]
    shared = width * height
    return any(shared / area > SAME for area in (sum(areas) - shared, *areas))
