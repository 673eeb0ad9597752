"""UniGenBench++: test points of a prompt, each with what it means there, judged one by one."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from hypernoise_pl.metrics.benchmark import ScoredImage
from hypernoise_pl.metrics.image_files import ImageFolder
from hypernoise_pl.metrics.questions.aggregation import Aggregation
from hypernoise_pl.metrics.questions.answerer import Answerer
from hypernoise_pl.metrics.questions.benchmark import QuestionBenchmark
from hypernoise_pl.metrics.questions.question import Question, to_metadata
from hypernoise_pl.metrics.questions.records import csv_rows, same_length, texts
from hypernoise_pl.types import Prompt

FILE = "UniGenBench file"
LANGUAGES = {
    "en": ("Testpoints", "Testpoint Description"),
    "zh": ("考点", "考点对应描述"),
}  # keys of points and what they mean


class UniGenBenchFolder(ImageFolder):
    """``0_0.png`` to ``0_3.png``, by the prompt's index in the file."""

    def name(self, prompt: Prompt, number: int) -> str:
        """``0_0.png``."""
        return f"{prompt.metadata['index']}_{number}.png"


class UniGenBench(QuestionBenchmark):
    """UniGenBench++'s 600 prompts, English or Chinese, short or long: the share of test points that an image meets.

    A test point is asked as a yes-or-no question in our own words: the original's instruction, with a definition of
    each point and an analysis before the mark, is another one.

    Figures beside the value: ``skill/Attribute`` and ``skill/Attribute - Quantity``, primary dimensions and those below
    them, as means of images; the original pools points, as the JSON file of ``results`` has it.

    Args:
        answerer: answering model; the original uses Gemini 2.5 Pro, or its own model based on Qwen2.5-VL-72B.
        aggregation: mean that is the image's value; ``accuracy`` is the benchmark's.

    Source: Wang et al. 2025 (UniGenBench++, arXiv 2510.18701). The prompts are CC BY 4.0 by the repository's
    ``License.txt``; ``read`` takes a user's own copy.
    """

    title = "UniGenBench++"
    folder: ClassVar[ImageFolder] = UniGenBenchFolder()
    caveat: ClassVar[str] = (
        "The published figures are Gemini 2.5 Pro's marks by another instruction; those of another answering model "
        "differ."
    )

    def __init__(self, answerer: Answerer, aggregation: Aggregation = "accuracy") -> None:
        super().__init__(answerer, aggregation, hard=True)

    @classmethod
    def read(cls, file: Path, **options: Any) -> list[Prompt]:
        """The prompts of ``test_prompts_en.csv`` and its like: columns ``index``, ``prompt_en`` and ``sub_dims_en``.

        The published ``test_prompts_en_long.csv`` is damaged in line 511 (index 509): a comma is missing after
        ``"Grammar - Negation"``; put it into your copy.

        Raises:
            FileNotFoundError: if it is missing.
            ValueError: if a row is of another form; with the line.
        """
        prompts: list[Prompt] = []
        for where, row in csv_rows(file, FILE, ("index",)):
            language = next((name for name in LANGUAGES if f"prompt_{name}" in row), None)
            if language is None or f"sub_dims_{language}" not in row:
                raise ValueError(f"{where}: no columns prompt_en and sub_dims_en, or prompt_zh and sub_dims_zh")
            prompts.append(_prompt(where, row, language, len(prompts)))
        return prompts

    def results(self, scored: Sequence[ScoredImage]) -> dict[str, str]:
        """``questions.jsonl``, and the original's ``results.csv``, a row an image, and ``results.json``, by dimension.

        Images with a point that has no answer are left out of the original's.
        """
        table = io.StringIO(newline="")
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(["index", "prompt", "testpoint", "output", "result_json", "img_path"])
        totals: dict[str, dict[str, list[int]]] = {"primary_dimensions": {}, "sub_dimensions": {}}
        for each in scored:
            asked, points = each.outcome.details["questions"], each.prompt.metadata["points"]
            if any(question["value"] is None for question in asked):
                continue
            marks, given = [int(question["right"]) for question in asked], [question["given"] for question in asked]
            result = {"prompt": each.prompt.text, "testpoint": points, "analysis": given, "score": marks}
            said = json.dumps(result, ensure_ascii=False, indent=4)
            index = each.prompt.metadata["index"]
            rows.writerow([index, each.prompt.text, str(points), "\n".join(given), said, str(each.image.path)])
            for point, mark in zip(points, marks, strict=True):
                totals["primary_dimensions"].setdefault(point.partition("-")[0], []).append(mark)
                totals["sub_dimensions"].setdefault(point, []).append(mark)
        summary = {
            level: {
                name: {"correct": sum(own), "total": len(own), "accuracy": round(sum(own) / len(own), 4)}
                for name, own in found.items()
            }
            for level, found in totals.items()
        }
        own = {"results.csv": table.getvalue(), "results.json": json.dumps(summary, ensure_ascii=False, indent=4)}
        return super().results(scored) | own


def _prompt(where: str, row: dict[str, str], language: str, place: int) -> Prompt:
    words, column = row[f"prompt_{language}"].strip(), f"sub_dims_{language}"
    if not words or not row["index"].strip().isdecimal():
        raise ValueError(f"{where}: it needs a prompt and a whole number as index, got {row['index']!r} and {words!r}")
    try:
        found = json.loads(row[column])
    except ValueError as error:
        raise ValueError(f"{where}: {column!r} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{where}: {column!r} must be a JSON object, got {row[column][:60]!r}")
    name, meaning = LANGUAGES[language]
    points, meanings = texts(where, found, name), texts(where, found, meaning, empty=True)
    same_length(where, name, points, meaning, meanings)
    questions = [
        Question(
            f"An image was made from this prompt: {words!r}. Does it show what the prompt asks for in this point? "
            + (f"{point}: {means}" if means else point),
            ("yes",),
            str(number),
            skills=tuple(dict.fromkeys([point.partition("-")[0].strip(), point])),
        )
        for number, (point, means) in enumerate(zip(points, meanings, strict=True), 1)
    ]
    return Prompt(words, "", {"index": int(row["index"]), "points": points, **to_metadata(questions)}, place)
