"""GenEval's result file, one line per image, and the caveat of its figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hypernoise_pl.metrics.benchmark import ScoredImage
from hypernoise_pl.metrics.geneval.classes import class_names
from hypernoise_pl.metrics.geneval.rules import Detection
from hypernoise_pl.metrics.judge import Verdict
from hypernoise_pl.types import Prompt

RESULTS = "results.jsonl"
CAVEAT = (
    "GenEval drifts from human judgement for strong models: its detector and its colours err on images that people "
    "find correct. Compare figures of one detector only."
)


def boxes_of(found: Sequence[Detection]) -> dict[str, list[list[float]]]:
    """Class -> left, top, right, bottom and confidence of each detection; classes in GenEval's order."""
    boxes: dict[str, list[list[float]]] = {name: [] for name in class_names()}
    for each in found:
        boxes.setdefault(each.name, []).append([*each.box, each.score])
    return {name: own for name, own in boxes.items() if own}


def result(filename: str, prompt: Prompt, verdict: Verdict, boxes: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the reference evaluation's ``results.jsonl``: ``metadata`` and ``details`` are JSON in a text.

    Args:
        filename: file name of the image.
        prompt: prompt with its clauses.
        verdict: verdict on the image.
        boxes: result of ``boxes_of``.
    """
    return {
        "filename": filename,
        "tag": prompt.tag,
        "prompt": prompt.text,
        "correct": verdict.correct,
        "reason": verdict.reason,
        "metadata": json.dumps({"tag": prompt.tag, **prompt.metadata, "prompt": prompt.text}),
        "details": json.dumps(boxes),
    }


def results(scored: Sequence[ScoredImage]) -> dict[str, str]:
    """``results.jsonl`` -> its text, as the reference evaluation writes it."""
    lines = []
    for each in scored:
        decided = Verdict(each.outcome.value == 1, each.outcome.reason)
        line = result(each.image.name, each.prompt, decided, each.outcome.details["boxes"])
        lines.append(json.dumps(line, separators=(",", ":")) + "\n")
    return {RESULTS: "".join(lines)}
