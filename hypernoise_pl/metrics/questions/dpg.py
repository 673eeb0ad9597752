"""DPG-Bench: dense prompts, questions that depend on each other, and four images in one file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from hypernoise_pl.metrics.benchmark import ScoredImage
from hypernoise_pl.metrics.image_files import ImageFile, ImageFolder, save_png
from hypernoise_pl.metrics.questions.aggregation import Aggregation
from hypernoise_pl.metrics.questions.answerer import Answerer
from hypernoise_pl.metrics.questions.benchmark import QuestionBenchmark
from hypernoise_pl.metrics.questions.question import Question, to_metadata
from hypernoise_pl.metrics.questions.records import csv_rows
from hypernoise_pl.types import Prompt

FILE = "DPG-Bench file"
COLUMNS = ("item_id", "text", "proposition_id", "dependency", "tuple", "question_natural_language")


class DPGFolder(ImageFolder):
    """A file a prompt, named as the prompt's own text file (``partiprompts81.png``), with a grid of images in it.

    Args:
        side: images along each side of a file; 1 for one image a file.
    """

    def __init__(self, side: int = 2) -> None:
        self.side, self.images = side, side * side

    def name(self, prompt: Prompt, number: int) -> str:
        """``partiprompts81.png``, whichever the number; ``cell`` says where in it the image lies."""
        return f"{prompt.metadata['item_id']}.png"

    def cell(self, number: int) -> tuple[int, int, int, int] | None:
        """Row, column, rows and columns of an image in its file, row by row; None for one image a file."""
        return None if self.side == 1 else (*divmod(number, self.side), self.side, self.side)

    def find(self, folder: Path, prompts: Sequence[Prompt]) -> list[ImageFile]:
        """The images of the files that there are; several of one file are named ``NAME.png#0`` and so on."""
        found = []
        for prompt in prompts:
            name = self.name(prompt, 0)
            if not (folder / name).is_file():
                continue
            for number in range(self.images):
                called = name if self.side == 1 else f"{name}#{number}"
                found.append(ImageFile(folder / name, prompt, number, called, self.cell(number)))
        return found

    def _write_images(self, folder: Path, prompt: Prompt, pixels: Tensor) -> list[str]:
        """Write [N, H, W, 3] bytes as the cells of one file.

        Raises:
            ValueError: if there are more or fewer images than cells.
        """
        if len(pixels) != self.images:
            raise ValueError(f"DPG-Bench: a file holds {self.images} images of a prompt, got {len(pixels)}")
        name = self.name(prompt, 0)
        rows = [torch.cat([*row], 1) for row in pixels.split(self.side)]
        save_png(folder / name, torch.cat(rows))
        return [name] * len(pixels)


class DPGBench(QuestionBenchmark):
    """DPG-Bench's 1065 prompts: the share of questions that are right, those of a wrong parent counting as wrong.

    Two faults of the original are not repeated: it passes over the file's first question, and so fails on that prompt's
    image; and its categories are of the last image of a file alone, these are of all four.

    Figures beside the value: ``skill/entity`` and ``skill/entity - whole``, the two levels of categories, in which a
    wrong parent does not count, as in the original.

    Args:
        answerer: answering model; the original uses mPLUG-large.
        aggregation: mean that is the image's value; ``dependent`` is the benchmark's.
        hard: count answers as 1 or 0, as in the original, instead of by their probability.
        side: images along each side of an image file: 2 for four images per file, 1 for one.

    Raises:
        ValueError: if the side is below 1.

    Source: Hu et al. 2024 (ELLA, arXiv 2403.05135), section 4; the repository is Apache-2.0. The file is a user's copy.
    """

    title = "DPG-Bench"
    folder: ClassVar[ImageFolder] = DPGFolder()
    caveat: ClassVar[str] = "The published figures are mPLUG-large's answers; those of another answering model differ."

    def __init__(
        self, answerer: Answerer, aggregation: Aggregation = "dependent", hard: bool = True, side: int = 2
    ) -> None:
        super().__init__(answerer, aggregation, hard)
        if side < 1:
            raise ValueError(f"DPGBench: side must be at least 1, got {side}")
        self.side = side

    @classmethod
    def layout(cls, **options: Any) -> ImageFolder:
        """The folder of this ``side``."""
        return DPGFolder(options.get("side", 2))

    @classmethod
    def read(cls, file: Path, **options: Any) -> list[Prompt]:
        """The prompts of ``dpg_bench.csv``, which has a row a question; ``item_id`` names the prompt.

        Raises:
            FileNotFoundError: if it is missing.
            ValueError: if a row is of another form, or names a question that its prompt does not have; with the line.
        """
        words: dict[str, str] = {}
        asked: dict[str, dict[str, tuple[str, Question]]] = {}  # item -> id -> place and question
        for where, row in csv_rows(file, FILE, COLUMNS):
            question, item = _question(where, row), row["item_id"].strip()
            own = asked.setdefault(item, {})
            if question.id in own:
                raise ValueError(f"{where}: item {item!r} has two questions {question.id}")
            own[question.id] = where, question
            words.setdefault(item, row["text"].strip())
            if not words[item]:
                raise ValueError(f"{where}: nothing in column 'text', the prompt")
        prompts: list[Prompt] = []
        for item, own in asked.items():
            for where, question in own.values():
                for parent in question.parents:
                    if parent not in own:
                        raise ValueError(f"{where}: 'dependency' {parent} is no question of item {item!r}")
            questions = to_metadata(question for _, question in own.values())
            prompts.append(Prompt(words[item], "", {"item_id": item, **questions}, len(prompts)))
        return prompts

    def results(self, scored: Sequence[ScoredImage]) -> dict[str, str]:
        """``questions.jsonl``, and the original's files: a line a file of images, and in ``_detail`` a line an answer.

        A file with an image that has no value is left out of the original's.
        """
        files: dict[Path, list[ScoredImage]] = {}
        for each in sorted(scored, key=lambda one: (one.prompt.index, one.image.number)):
            files.setdefault(each.image.path, []).append(each)
        lines, details, means = [], [], []
        for path, own in files.items():
            values = [each.outcome.value for each in own]
            if any(map(math.isnan, values)):
                continue
            means.append(sum(values) / len(values))
            lines.append(", ".join([str(path), *map(str, values), str(means[-1])]))
            details += [
                f"{path}, {each.image.cell}, {question['question']}, {question['given']}"
                for each in own
                for question in each.outcome.details["questions"]
            ]
        if means:
            lines.append(f"DPG-Bench score: {100 * sum(means) / len(means)}")
        texts = {"dpg-bench_results.txt": lines, "dpg-bench_results_detail.txt": details}
        return super().results(scored) | {name: "".join(f"{line}\n" for line in own) for name, own in texts.items()}


def _question(where: str, row: dict[str, str]) -> Question:
    for column in ("item_id", "tuple", "question_natural_language"):
        if not row[column].strip():
            raise ValueError(f"{where}: nothing in column {column!r}")
    numbers = {name: row[name].split(",") for name in ("proposition_id", "dependency")}
    for name, parts in numbers.items():
        if not all(part.strip().isdecimal() for part in parts) or (name == "proposition_id" and len(parts) > 1):
            raise ValueError(f"{where}: {name!r} must be whole numbers, 0 for no parent; got {row[name]!r}")
    category = row["tuple"].partition("(")[0].strip()
    return Question(
        row["question_natural_language"].strip(),
        ("yes",),
        str(int(row["proposition_id"])),
        tuple(str(int(part)) for part in numbers["dependency"] if int(part) != 0),
        tuple(dict.fromkeys([category.partition("-")[0].strip(), category])),
    )
