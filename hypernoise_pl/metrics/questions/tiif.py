"""TIIF-Bench: yes-or-no questions about short and long versions of a prompt, by dimension."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from hypernoise_pl.metrics.benchmark import ScoredImage
from hypernoise_pl.metrics.image_files import ImageFolder
from hypernoise_pl.metrics.questions.aggregation import Aggregation
from hypernoise_pl.metrics.questions.answerer import Answerer
from hypernoise_pl.metrics.questions.benchmark import QuestionBenchmark
from hypernoise_pl.metrics.questions.question import Question, to_metadata
from hypernoise_pl.metrics.questions.records import json_lines, same_length, text, texts
from hypernoise_pl.metrics.questions.words import YES_NO, normalised
from hypernoise_pl.types import Prompt, did_you_mean

FILE = "TIIF-Bench file"
ENDING = "_eval_prompts"  # of the files and folders of questions; those of prompts end in `_prompts`
Length = Literal["short", "long"]
KINDS = {
    "Attribute": {"color", "texture", "shape"},
    "Relation": {"2d_spatial_relation", "3d_spatial_relation", "2d", "3d", "action"},
    "Reasoning": {"numeracy", "negation", "differentiation", "comparison"},
    "Text Generation": {"text"},
    "Style Control": {"style"},
    "Complex": {"real_world"},
}


class TIIFFolder(ImageFolder):
    """``TYPE/MODEL/short_description/0.png``, by the line of the type's file.

    Args:
        length: version of the prompts that the images were made from.
        model: name of the folder of a model's images.
    """

    images = 1

    def __init__(self, length: Length = "short", model: str = "hypernoise_pl") -> None:
        self.length, self.model = length, model

    def name(self, prompt: Prompt, number: int) -> str:
        """``TYPE/MODEL/short_description/0.png``; a further image of the same prompt is ``0_1.png``."""
        end = f"_{number}" if number else ""
        return f"{prompt.tag}/{self.model}/{self.length}_description/{prompt.metadata['line']}{end}.png"

    def _numbers(self, folder: Path, prompt: Prompt) -> list[int]:
        return [0] if (folder / self.name(prompt, 0)).is_file() else []


class TIIFBench(QuestionBenchmark):
    """TIIF-Bench's prompts of one length: the share of questions that are right, by type of prompt.

    The score is the mean over types of the means of images; the original pools the questions of a type, then takes the
    mean over nine groups of types. ``result_summary_dimension.txt`` of ``results`` has those figures exactly.

    Args:
        answerer: answering model; the original uses GPT-4o or Qwen2.5-VL-72B.
        length: version of the prompts: ``short`` or ``long``.
        model: name of the folder, below each type's, that holds the images.
        aggregation: mean that is the image's value; ``accuracy`` is the benchmark's.

    Raises:
        ValueError: if the length is neither short nor long.

    Source: Wei et al. 2025 (TIIF-Bench, arXiv 2506.02161). The repository states no licence: ``read`` takes a user's
    own copy, and nothing of it is in this package.
    """

    neutral: ClassVar[tuple[str, ...]] = ("model",)
    title = "TIIF-Bench"
    folder: ClassVar[ImageFolder] = TIIFFolder()
    caveat: ClassVar[str] = (
        "The published figures are GPT-4o's or Qwen2.5-VL-72B's answers; those of another answering model differ."
    )

    def __init__(
        self,
        answerer: Answerer,
        length: Length = "short",
        model: str = "hypernoise_pl",
        aggregation: Aggregation = "accuracy",
    ) -> None:
        super().__init__(answerer, aggregation, hard=True)
        if length not in get_args(Length):
            raise ValueError(
                f"TIIFBench: length must be short or long, got {length!r}{did_you_mean(length, get_args(Length))}"
            )
        self.length, self.model = length, model

    @classmethod
    def layout(cls, **options: Any) -> ImageFolder:
        """The folder of these ``length`` and ``model``."""
        return TIIFFolder(**{name: options[name] for name in ("length", "model") if name in options})

    @classmethod
    def read(cls, file: Path, **options: Any) -> list[Prompt]:
        """The prompts of a folder of questions (``data/testmini_eval_prompts``) or of one file in it.

        The questions' files have no prompts; those are read from the folder beside it (``data/testmini_prompts``),
        whose file of the same name without ``eval`` has them line by line.

        Raises:
            FileNotFoundError: if a file is missing.
            ValueError: if a line is of another form, or the two files do not belong together; with the line.
        """
        files = sorted(file.glob("*.jsonl")) if file.is_dir() else [file]
        if not files:
            raise FileNotFoundError(f"{FILE} {file}: a folder without .jsonl files")
        found = [each for one in files for each in _of_file(one, options.get("length", "short"))]
        return [Prompt(p.text, p.tag, p.metadata, place) for place, p in enumerate(found)]

    def results(self, scored: Sequence[ScoredImage]) -> dict[str, str]:
        """``questions.jsonl``, and the original's files: ``MODEL/TYPE/short/0.json`` of an image, and the summary.

        Images with a question that has no answer are left out of the original's.
        """
        files = super().results(scored)
        right: dict[str, list[bool]] = {}
        for each in scored:
            asked = each.outcome.details["questions"]
            if any(question["value"] is None for question in asked):
                continue
            place = f"{each.prompt.metadata['line']}{f'_{each.image.number}' if each.image.number else ''}"
            files[f"{self.model}/{each.prompt.tag}/{self.length}/{place}.json"] = json.dumps(
                {
                    "attribute": each.prompt.tag,
                    "desc": f"{self.length}_description",
                    "jsonl_file": each.prompt.metadata["jsonl_file"],
                    "line_idx": each.prompt.metadata["line"],
                    "questions": [question["question"] for question in asked],
                    "gt_answers": [question["expected"][0] for question in asked],
                    "model_pred": [normalised(question["given"]) for question in asked],
                    "model_output": "\n".join(question["given"] for question in asked),
                },
                indent=2,
                ensure_ascii=False,
            )
            right.setdefault(each.prompt.tag, []).extend(question["right"] for question in asked)
        if right:
            files["result_summary_dimension.txt"] = _summary({tag: sum(own) / len(own) for tag, own in right.items()})
        return files


def _group(kind: str, where: str) -> str:
    """The group of a type of prompt: ``color+2d`` is of ``Attribute+Relation``, ``action+2d`` of ``Relation``."""
    found = set()
    for part in kind.split("+"):
        names = [name for name, own in KINDS.items() if part in own]
        if not names:
            parts = [known for own in KINDS.values() for known in own]
            raise ValueError(f"{where}: type {kind!r} has an unknown part {part!r}{did_you_mean(part, parts)}")
        found.add(names[0])
    return "+".join(name for name in KINDS if name in found)


def _questions(where: str, found: dict[str, Any]) -> list[Question]:
    asked, answers = texts(where, found, "yn_question_list"), texts(where, found, "yn_answer_list")
    same_length(where, "yn_question_list", asked, "yn_answer_list", answers)
    for answer in answers:
        if answer.lower() not in YES_NO:
            raise ValueError(f"{where}: 'yn_answer_list' must be of yes and no, got {answer!r}")
    return [Question(q, (a.lower(),), str(n)) for n, (q, a) in enumerate(zip(asked, answers, strict=True), 1)]


def _summary(types: Mapping[str, float]) -> str:
    """Accuracy by type, by group (the mean over its types), and the mean over groups."""
    groups: dict[str, list[float]] = {}
    for kind, share in types.items():
        groups.setdefault(_group(kind, FILE), []).append(share)
    means = {name: sum(own) / len(own) for name, own in groups.items()}
    rows = [*sorted(types.items()), *means.items(), ("overall", sum(means.values()) / len(means))]
    return "".join(f"{name}: {share:.4f}\n" for name, share in rows)


def _of_file(file: Path, length: Length) -> list[Prompt]:
    folder, name = (part.replace(ENDING, "_prompts") for part in (file.parent.name, file.name))
    beside = file.parent.with_name(folder) / name
    asked, said = list(json_lines(file, FILE)), list(json_lines(beside, FILE)) if beside != file else []
    if not said:
        raise ValueError(f"{FILE} {file}: its name must end in {ENDING}.jsonl, and its folder's in {ENDING}")
    if len(asked) != len(said):
        raise ValueError(f"{FILE} {file}: {len(asked)} lines, but {beside} has {len(said)}; they belong together")
    prompts = []
    for line, ((where, found), (there, words)) in enumerate(zip(asked, said, strict=True)):
        kind = text(where, found, "type")
        _group(kind, where)
        if text(there, words, "type") != kind:
            raise ValueError(f"{where}: type {kind!r}, but {words['type']!r} in {there}; they belong together")
        known = {"line": line, "jsonl_file": file.name, **to_metadata(_questions(where, found))}
        prompts.append(Prompt(text(there, words, f"{length}_description"), kind, known))
    return prompts
