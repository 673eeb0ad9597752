"""One figure of many answers: the means that the question benchmarks take over the questions of a prompt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from hypernoise_pl.metrics.questions.answerer import Answer
from hypernoise_pl.metrics.questions.question import Question

Aggregation = Literal["arithmetic", "geometric", "dependent", "accuracy"]


def aggregates(questions: Sequence[Question], answers: Sequence[Answer], hard: bool) -> dict[str, float]:
    """Every mean over the questions of an image.

    Args:
        questions: questions about one image; at least one.
        answers: an answer to each.
        hard: whether an answer counts 1 or 0, and not its probability.

    Returns:
        - ``arithmetic``: the mean (Soft-TIFA AM; TIFA if hard);
        - ``geometric``: the geometric mean (Soft-TIFA GM); 0 where one is 0;
        - ``dependent``: the mean, a question counting 0 where a question that it depends on is wrong, or itself counts
          0 for that reason (DPG-Bench);
        - ``accuracy``: the share of questions that are right, whether hard or not.

        NaN, all of them, where a question has no answer: the mean over the others would be of another set of questions.

    Source: Kamath et al. 2025 (GenEval 2, arXiv 2512.16853) for the first two; Hu et al. 2024 (ELLA, arXiv 2403.05135)
    and Cho et al. 2023 (DSG, arXiv 2310.18235) for the third.
    """
    if any(answer.missing for answer in answers):
        return dict.fromkeys(("arithmetic", "geometric", "dependent", "accuracy"), math.nan)
    right = [question.right(answer.given) for question, answer in zip(questions, answers, strict=True)]
    values = answer_values(questions, answers, hard)
    failed = {question.id for question, correct in zip(questions, right, strict=True) if not correct}
    while more := {q.id for q in questions if q.id not in failed and not failed.isdisjoint(q.parents)}:
        failed |= more
    held = [0.0 if not failed.isdisjoint(q.parents) else value for q, value in zip(questions, values, strict=True)]
    return {
        "arithmetic": _mean(values),
        "geometric": 0.0 if min(values) == 0 else math.exp(_mean([math.log(value) for value in values])),
        "dependent": _mean(held),
        "accuracy": _mean(right),
    }


def by_skill(questions: Sequence[Question], answers: Sequence[Answer], hard: bool) -> dict[str, float]:
    """``skill/NAME`` -> the mean over the questions of a skill; a skill with a question without answer is left out."""
    groups: dict[str, list[float]] = {}
    for question, value in zip(questions, answer_values(questions, answers, hard), strict=True):
        for skill in question.skills:
            groups.setdefault(f"skill/{skill}", []).append(value)
    means = {skill: _mean(values) for skill, values in groups.items()}
    return {skill: mean for skill, mean in means.items() if not math.isnan(mean)}


def answer_values(questions: Sequence[Question], answers: Sequence[Answer], hard: bool) -> list[float]:
    """The value of each answer: its probability, or 1 or 0 if ``hard``; NaN for a missing answer."""
    return [
        float(question.right(answer.given)) if hard and not answer.missing else answer.probability
        for question, answer in zip(questions, answers, strict=True)
    ]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
