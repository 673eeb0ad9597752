"""Questions about a prompt's images, with the answers they should get; and how a prompt's metadata holds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from hypernoise_pl.metrics.questions.words import NUMBERS, YES_NO, normalised
from hypernoise_pl.types import did_you_mean

KEY = "questions"  # of a prompt's metadata


@dataclass(frozen=True)
class Question:
    """One question about an image.

    Args:
        text: text of the question.
        answers: expected answers, any of which is right; at least one.
        id: name of the question, unique within its prompt.
        parents: ids of the questions that must be right before this one can be.
        skills: kinds of ability that it tests, such as ``count``; the figures by skill are over them.
        options: every answer that can be given; empty for yes and no, or the numbers, as ``choices`` says.
    """

    text: str
    answers: tuple[str, ...]
    id: str
    parents: tuple[str, ...] = ()
    skills: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def right(self, given: str) -> bool:
        """Whether an answer is one of those expected, as ``normalised`` compares them."""
        return normalised(given) in {normalised(answer) for answer in self.answers}

    def choices(self) -> tuple[str, ...]:
        """The answers among which a model can choose: the options, else yes and no, or the numbers from zero to ten.

        Raises:
            ValueError: if there are no options, and the expected answers are neither yes or no nor such numbers.
        """
        if self.options:
            return self.options
        expected = {normalised(answer) for answer in self.answers}
        for known in (YES_NO, NUMBERS):
            if expected <= {normalised(word) for word in known}:
                return known
        raise ValueError(
            f"question {self.text!r} expects {' or '.join(map(repr, self.answers))}, which is neither yes or no nor a "
            f"number from zero to ten; give it options"
        )


def to_metadata(questions: Iterable[Question]) -> dict[str, Any]:
    """The questions in a prompt's metadata, as JSON."""
    plain = [{name: list(v) if isinstance(v, tuple) else v for name, v in asdict(each).items()} for each in questions]
    return {KEY: plain}


def from_metadata(metadata: Mapping[str, Any]) -> list[Question]:
    """The questions of a prompt's metadata.

    Raises:
        ValueError: if there are none or they are malformed; the message begins with "has".
    """
    listed = metadata.get(KEY)
    if not isinstance(listed, (list, tuple)) or not listed:
        raise ValueError(f"has no {KEY!r}, a list of questions with 'text', 'answers' and 'id'")
    questions = [_question(each, f"has a question {number} that") for number, each in enumerate(listed, 1)]
    ids = [question.id for question in questions]
    if len({*ids}) < len(ids):
        raise ValueError(f"has two questions of one id: {next(one for one in ids if ids.count(one) > 1)!r}")
    for question in questions:
        for parent in question.parents:
            if parent not in ids:
                raise ValueError(f"has a question {question.id!r} whose parent {parent!r} is no question of it")
    return questions


def _question(given: Any, where: str) -> Question:
    if not isinstance(given, Mapping):
        raise ValueError(f"{where} is no object, but {given!r}")
    names = [each.name for each in fields(Question)]
    for name in given:
        if name not in names:
            raise ValueError(f"{where} has an unknown key {name!r}{did_you_mean(name, names)}")
    for name in ("text", "id"):
        if not isinstance(given.get(name), str) or not given[name].strip():
            raise ValueError(f"{where} has no {name!r}, a text")
    lists = {name: given.get(name, ()) for name in ("answers", "parents", "skills", "options")}
    for name, values in lists.items():
        if not isinstance(values, (list, tuple)) or not all(isinstance(value, str) for value in values):
            raise ValueError(f"{where} has {name!r} that are no list of texts, but {values!r}")
    if not lists["answers"]:
        raise ValueError(f"{where} has no 'answers', those that are right")
    return Question(text=given["text"], id=given["id"], **{name: tuple(values) for name, values in lists.items()})
