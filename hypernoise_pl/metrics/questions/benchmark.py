"""The base of question benchmarks: the figure of an image is a mean over answers to questions about it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, get_args

from torch import Tensor

from hypernoise_pl.metrics.benchmark import Benchmark, Outcome, ScoredImage
from hypernoise_pl.metrics.questions.aggregation import Aggregation, aggregates, answer_values, by_skill
from hypernoise_pl.metrics.questions.answerer import Answer, Answerer
from hypernoise_pl.metrics.questions.question import Question, from_metadata
from hypernoise_pl.types import Prompt, did_you_mean


class QuestionBenchmark(Benchmark):
    """Questions from a prompt's metadata.

    The value of an image is a mean over its questions; further figures are the other means and the means by skill. An
    image with an unanswered question has no value: it counts as missing, not as wrong.

    Args:
        answerer: answering model.
        aggregation: mean that is the image's value: ``arithmetic``, ``geometric``, ``dependent`` or ``accuracy``.
        hard: count answers as 1 or 0 instead of by their probability.

    Raises:
        ValueError: if the aggregation is none of the four.
    """

    title = "Questions"
    caveat: ClassVar[str] = "The figures are the answering model's opinion; another model gives others."

    def __init__(self, answerer: Answerer, aggregation: Aggregation = "arithmetic", hard: bool = False) -> None:
        super().__init__()
        if aggregation not in get_args(Aggregation):
            known = ", ".join(get_args(Aggregation))
            raise ValueError(
                f"{type(self).__name__}: no aggregation is called {aggregation!r}"
                f"{did_you_mean(aggregation, get_args(Aggregation))}; there are {known}"
            )
        self.answerer, self.aggregation, self.hard = answerer, aggregation, hard

    def questions(self, prompt: Prompt) -> list[Question]:
        """The questions about a prompt's images.

        Raises:
            ValueError: if its metadata has none or malformed ones; the message begins with "has".
        """
        return from_metadata(prompt.metadata)

    def missing_metadata(self, prompt: Prompt) -> str | None:
        """Error in a prompt's ``questions``; None for valid questions."""
        try:
            self.questions(prompt)
        except ValueError as error:
            return str(error)
        return None

    def missing(self) -> str | None:
        """The answerer's first missing requirement, in words; None if there is none."""
        return self.answerer.missing()

    def judged_by(self) -> str:
        """Name of the answering model."""
        return self.answerer.display_name()

    def results(self, scored: Sequence[ScoredImage]) -> dict[str, str]:
        """``questions.jsonl``: a line an image, with what was asked, expected and given."""
        lines = [
            {
                "image": each.image.name,
                "prompt": each.prompt.text,
                "value": None if math.isnan(each.outcome.value) else each.outcome.value,
                **each.outcome.details,
            }
            for each in scored
        ]
        return {"questions.jsonl": "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)}

    def _outcomes(self, images: Tensor, prompts: list[Prompt]) -> list[Outcome]:
        asked = [self.questions(prompt) for prompt in prompts]
        answered = self.answerer.answer(images, asked)
        return [self._outcome(*each) for each in zip(prompts, asked, answered, strict=True)]

    def _outcome(self, prompt: Prompt, questions: list[Question], answers: list[Answer]) -> Outcome:
        means = aggregates(questions, answers, self.hard)
        others = {*means} - {self.aggregation} - (set() if any(q.parents for q in questions) else {"dependent"})
        figures = {name: mean for name, mean in means.items() if name in others}
        figures |= self._figures(prompt, means) | by_skill(questions, answers, self.hard)
        return Outcome(
            means[self.aggregation],
            _reason(questions, answers),
            {name: figure for name, figure in figures.items() if not math.isnan(figure)},
            {"questions": self._details(questions, answers)},
        )

    def _figures(self, prompt: Prompt, means: dict[str, float]) -> dict[str, float]:
        """Further figures of an image, from the means of its questions; none by default."""
        return {}

    def _details(self, questions: list[Question], answers: list[Answer]) -> list[dict[str, Any]]:
        """Questions and answers as JSON; ``value`` counts in the score, null for a missing answer."""
        values = answer_values(questions, answers, self.hard)
        return [
            {
                "id": question.id,
                "question": question.text,
                "expected": list(question.answers),
                "given": answer.given,
                "right": None if answer.missing else question.right(answer.given),
                "value": None if answer.missing else value,
            }
            for question, answer, value in zip(questions, answers, values, strict=True)
        ]


def _reason(questions: Sequence[Question], answers: Iterable[Answer]) -> str:
    """A line for each question that is wrong or has no answer."""
    lines = []
    for question, answer in zip(questions, answers, strict=True):
        if answer.missing:
            lines.append(f"{question.text} no answer")
        elif not question.right(answer.given):
            lines.append(f"{question.text} expected {' or '.join(question.answers)}, given {answer.given}")
    return "\n".join(lines)
