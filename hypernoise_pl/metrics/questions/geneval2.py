"""GenEval 2: prompts of three to ten atoms, a question for each, and Soft-TIFA over the answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from hypernoise_pl.metrics.benchmark import ScoredImage
from hypernoise_pl.metrics.image_files import ImageFile, ImageFolder
from hypernoise_pl.metrics.questions.aggregation import Aggregation
from hypernoise_pl.metrics.questions.answerer import Answerer
from hypernoise_pl.metrics.questions.benchmark import QuestionBenchmark
from hypernoise_pl.metrics.questions.question import Question, to_metadata
from hypernoise_pl.metrics.questions.records import json_lines, same_length, text, texts
from hypernoise_pl.types import Prompt

FILE = "GenEval 2 file"


class GenEval2Folder(ImageFolder):
    """One image a prompt, ``00000_0.png``; or the original's JSON file ``{prompt: path of its image}``."""

    images = 1
    accepts_file = True

    def name(self, prompt: Prompt, number: int) -> str:
        """``00000_0.png``, by the prompt's index."""
        return f"{prompt.index:05}_{number}.png"

    def find(self, folder: Path, prompts: Sequence[Prompt]) -> list[ImageFile]:
        """The images of a folder, or of a JSON file whose paths begin where the command runs, as the original's do.

        Raises:
            ValueError: if the JSON file is damaged, or has something else than paths by prompt.
        """
        if not folder.is_file():
            return super().find(folder, prompts)
        try:
            paths = json.loads(folder.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"image paths {folder}: not JSON: {error}") from error
        if not isinstance(paths, dict) or not all(isinstance(path, str) for path in paths.values()):
            raise ValueError(f"image paths {folder}: it must be one JSON object, prompt -> path of its image")
        found = [(prompt, paths[prompt.text]) for prompt in prompts if prompt.text in paths]
        return [ImageFile(Path(path), prompt, 0, path) for prompt, path in found]


class GenEval2(QuestionBenchmark):
    """GenEval 2's 800 prompts, by Soft-TIFA.

    The original takes the probability, among all words, that Qwen3-VL-8B begins its answer with the expected one;
    ``BlipAnswerer`` takes it among the answers to choose from. An answerer that gives no probabilities, as a chat model
    does, gives TIFA instead: the same means over 1 and 0.

    Figures beside the value: the other means; ``skill/NAME`` (object, attribute, count, position, verb), the original's
    by Soft-TIFA AM, save that it pools questions and this is the mean of images; ``atoms/N``, the geometric mean of
    prompts of N atoms.

    Args:
        answerer: answering model.
        aggregation: mean that is the image's value: ``geometric`` is Soft-TIFA GM, of prompts; ``arithmetic`` is
            Soft-TIFA AM, of atoms; ``accuracy`` is TIFA.
        hard: count answers as 1 or 0 instead of by their probability.

    Source: Kamath et al. 2025 (GenEval 2, arXiv 2512.16853). Data and code are CC BY-NC 4.0: ``read`` takes a user's
    own copy, and nothing of them is in this package.
    """

    title = "GenEval 2"
    folder: ClassVar[ImageFolder] = GenEval2Folder()
    caveat: ClassVar[str] = (
        "The published figures are Qwen3-VL-8B's probabilities; those of another answering model are not comparable. "
        "The prompts are CC BY-NC 4.0: no commercial use."
    )

    def __init__(self, answerer: Answerer, aggregation: Aggregation = "geometric", hard: bool = False) -> None:
        super().__init__(answerer, aggregation, hard)

    @classmethod
    def read(cls, file: Path, **options: Any) -> list[Prompt]:
        """The prompts of ``geneval2_data.jsonl``: ``prompt``, ``atom_count``, ``vqa_list`` and ``skills`` a line.

        ``vqa_list`` has pairs of question and answer, ``skills`` one name for each.

        Raises:
            FileNotFoundError: if it is missing.
            ValueError: if a line is of another form; with the line.
        """
        return [_prompt(where, found, place) for place, (where, found) in enumerate(json_lines(file, FILE))]

    def results(self, scored: Sequence[ScoredImage]) -> dict[str, str]:
        """``questions.jsonl``, and the original's ``score_lists.json`` and ``image_paths.json``, prompt -> path.

        The lists are of the images that have every answer, in the prompts' order. The original's analysis needs all
        800. Of further images of a prompt there are ``score_lists_1.json`` and so on.
        """
        files = super().results(scored)
        whole = [each for each in scored if not any(q["value"] is None for q in each.outcome.details["questions"])]
        for number in sorted({each.image.number for each in whole}):
            own = sorted((e for e in whole if e.image.number == number), key=lambda each: each.prompt.index)
            end = f"_{number}.json" if number else ".json"
            lists = [[question["value"] for question in each.outcome.details["questions"]] for each in own]
            files[f"score_lists{end}"] = json.dumps(lists)
            paths = {each.prompt.text: str(each.image.path) for each in own}
            files[f"image_paths{end}"] = json.dumps(paths, indent=1, ensure_ascii=False)
        return files

    def _figures(self, prompt: Prompt, means: dict[str, float]) -> dict[str, float]:
        return {f"atoms/{prompt.metadata['atom_count']}": means["geometric"]} if "atom_count" in prompt.metadata else {}


def _prompt(where: str, found: dict[str, Any], place: int) -> Prompt:
    pairs, skills = found.get("vqa_list"), texts(where, found, "skills")
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(word, str) and word.strip() for word in pair)
        for pair in pairs
    ):
        raise ValueError(f"{where}: 'vqa_list' must be a list of [question, answer], got {pairs!r}")
    same_length(where, "vqa_list", pairs, "skills", skills)
    count = found.get("atom_count")
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"{where}: 'atom_count' must be a number of at least 1, got {count!r}")
    questions = [
        Question(asked.strip(), (answer.strip(),), str(number), skills=(skill,))
        for number, ((asked, answer), skill) in enumerate(zip(pairs, skills, strict=True), 1)
    ]
    return Prompt(text(where, found, "prompt"), "", {"atom_count": count, **to_metadata(questions)}, place)
