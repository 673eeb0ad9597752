"""The result files of T2I-CompBench's original tools."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from hypernoise_pl.metrics.benchmark import ScoredImage
from hypernoise_pl.metrics.compbench.images import CompBenchImages

FOLDERS = {
    "color": "annotation_blip",
    "shape": "annotation_blip",
    "texture": "annotation_blip",
    "spatial": "labels/annotation_obj_detection_2d",
    "numeracy": "annotation_num",
    "non_spatial": "annotation_clip",
    "complex": "annotation_3_in_1",
}


def result_files(scored: Sequence[ScoredImage]) -> dict[str, str]:
    """``color/annotation_blip/vqa_result.json`` and so on -> list of ``question_id`` and ``answer``, as JSON.

    The id is the number in the image's file name, or that which the benchmark's layout gives it. Answers of attributes
    are texts with four decimals, others numbers, as the original tools have it. Images without a figure are left out.
    """
    answers: dict[str, list[tuple[int, float | str]]] = {}
    for each in scored:
        category, value = each.prompt.tag, each.outcome.value
        if value == value and category in FOLDERS:
            answer = f"{value:.4f}" if FOLDERS[category] == "annotation_blip" else value
            answers.setdefault(category, []).append((_number(each), answer))
    return {
        f"{category}/{FOLDERS[category]}/vqa_result.json": json.dumps(
            [{"question_id": number, "answer": answer} for number, answer in sorted(own, key=lambda pair: pair[0])]
        )
        for category, own in answers.items()
    }


def _number(scored: ScoredImage) -> int:
    match = re.search(r"_(\d+)$", PurePosixPath(scored.image.name).stem)
    return int(match[1]) if match else scored.prompt.index * CompBenchImages.images + scored.image.number
