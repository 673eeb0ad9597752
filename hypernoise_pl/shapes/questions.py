"""Questions about images of the shapes world, answered from the judge's detections."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from hypernoise_pl.metrics.geneval.rules import RELATIONS, Detection, relations
from hypernoise_pl.metrics.questions.aggregation import Aggregation
from hypernoise_pl.metrics.questions.answerer import Answer, Answerer
from hypernoise_pl.metrics.questions.benchmark import QuestionBenchmark
from hypernoise_pl.metrics.questions.question import KEY, Question, from_metadata, to_metadata
from hypernoise_pl.metrics.questions.words import number_word
from hypernoise_pl.shapes.caption import COLOURS, SHAPES, plural
from hypernoise_pl.shapes.judge import ShapesJudge
from hypernoise_pl.types import Prompt

_SHAPE, _PLURAL = "|".join(SHAPES), "|".join(map(plural, SHAPES))
_EXISTS = re.compile(rf"is there an? (?:({'|'.join(COLOURS)}) )?({_SHAPE})\?")
_COUNT = re.compile(rf"how many ({_PLURAL}) are there\?")
_PLACE = re.compile(rf"is the ({_SHAPE}) ({'|'.join(RELATIONS)}) the ({_SHAPE})\?")


def existence_question(shape: str, colour: str | None = None) -> str:
    """``Is there a red circle?``."""
    words = f"{colour} {shape}" if colour else shape
    return f"Is there {'an' if words[0] in 'aeiou' else 'a'} {words}?"


def count_question(shape: str) -> str:
    """``How many circles are there?``."""
    return f"How many {plural(shape)} are there?"


def position_question(shape: str, relation: str, other: str) -> str:
    """``Is the circle left of the square?``."""
    return f"Is the {shape} {relation} the {other}?"


def question_metadata(prompt: Prompt) -> dict[str, Any]:
    """The questions of a prompt with GenEval's clauses, as its metadata holds them.

    For every object whether it is there; for its colour whether one of this colour is there; for a count that more is
    forbidden of, how many there are; for a relation whether it holds. All but the first depend on their objects.
    """
    include = prompt.metadata["include"]
    exact = {clause["class"] for clause in prompt.metadata.get("exclude", ())}
    asked: dict[str, Question] = {}

    def ask(name: str, text: str, answer: str, parents: Sequence[str], skill: str) -> None:
        asked.setdefault(name, Question(text, (answer,), name, tuple(parents), (skill,)))

    for clause in include:
        shape = clause["class"]
        ask(shape, existence_question(shape), "yes", (), "object")
        if "color" in clause:
            colour = clause["color"]
            ask(f"{colour} {shape}", existence_question(shape, colour), "yes", (shape,), "attribute")
        if shape in exact:
            ask(f"{shape} count", count_question(shape), number_word(clause["count"]), (shape,), "count")
        if "position" in clause:
            relation, index = clause["position"]
            other = include[index]["class"]
            ask(
                f"{shape} {relation} {other}",
                position_question(shape, relation, other),
                "yes",
                (shape, other),
                "position",
            )
    return to_metadata(asked.values())


class ShapesAnswerer(Answerer):
    """Answers from what the judge of the shapes world detects.

    A relation holds if it does from every object of the first shape to every one of the second, and both are there.

    Args:
        chunk: images judged at once; bounds memory.
    """

    neutral: ClassVar[tuple[str, ...]] = ("chunk",)

    def __init__(self, chunk: int = 64) -> None:
        super().__init__()
        self.judge = ShapesJudge(chunk)

    def display_name(self) -> str:
        """Name of the judge."""
        return "the shapes judge"

    def _answer(self, images: Tensor, questions: list[list[Question]]) -> list[list[Answer]]:
        found = self.judge.detect(images)
        given = [[_said(objects, one.text) for one in own] for objects, own in zip(found, questions, strict=True)]
        return [
            [Answer(float(one.right(said)), said) for one, said in zip(own, answers, strict=True)]
            for own, answers in zip(questions, given, strict=True)
        ]


class ShapesQuestions(QuestionBenchmark):
    """Questions about prompts of the shapes world: those of their metadata, else those that its clauses say.

    Args:
        answerer: answerer; ``ShapesAnswerer`` if left out, which needs no model.
        aggregation: mean that is the image's value.
        hard: count answers as 1 or 0 instead of by their probability.
    """

    title = "Shapes questions"
    caveat: ClassVar[str] = ""

    def __init__(
        self, answerer: Answerer | None = None, aggregation: Aggregation = "arithmetic", hard: bool = False
    ) -> None:
        super().__init__(ShapesAnswerer() if answerer is None else answerer, aggregation, hard)
        self.judge = ShapesJudge()

    def questions(self, prompt: Prompt) -> list[Question]:
        """The questions of the prompt's metadata, else those of its clauses.

        Raises:
            ValueError: if there are neither, or clauses of another world; the message begins with "has".
        """
        if KEY in prompt.metadata:
            return from_metadata(prompt.metadata)
        lack = self.judge.missing_metadata(prompt)
        if lack is not None:
            raise ValueError(lack)
        return from_metadata(question_metadata(prompt))


def _said(objects: list[Detection], text: str) -> str:
    """The answer to a question, of what was detected."""
    asked = " ".join(text.lower().split())
    if match := _EXISTS.fullmatch(asked):
        colour, shape = match.groups()
        return _yes_no(any(each.name == shape and colour in (None, each.colour) for each in objects))
    if match := _COUNT.fullmatch(asked):
        number = sum(plural(each.name) == match[1] for each in objects)
        return number_word(number)
    if match := _PLACE.fullmatch(asked):
        first, relation, second = match.groups()
        pairs = [(a, b) for a in objects for b in objects if a is not b and (a.name, b.name) == (first, second)]
        return _yes_no(bool(pairs) and all(relation in relations(a, b) for a, b in pairs))
    raise ValueError(
        f"ShapesAnswerer cannot parse the question {text!r}; it parses {existence_question('circle', 'red')!r}, "
        f"{count_question('circle')!r} and {position_question('circle', 'left of', 'square')!r}"
    )


def _yes_no(true: bool) -> str:
    return "yes" if true else "no"
