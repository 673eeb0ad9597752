"""Questions in a prompt's metadata, which answers are the same, and the means over answers."""

import math

import pytest
import torch

from hypernoise_pl.metrics.questions.aggregation import aggregates, by_skill
from hypernoise_pl.metrics.questions.answerer import Answer
from hypernoise_pl.metrics.questions.question import Question, from_metadata, to_metadata
from hypernoise_pl.metrics.questions.words import normalised, spellings
from hypernoise_pl.shapes.questions import ShapesAnswerer, ShapesQuestions
from hypernoise_pl.types import Prompt


def question(name: str, *parents: str, answer: str = "yes", skill: str = "object") -> Question:
    return Question(f"{name}?", (answer,), name, parents, (skill,))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Yes", "yes."),
        ("Yes, there are two of them", "yes"),
        ("No: none", " no"),
        ("four", "4"),
        ("A red hat", "red  hat"),
    ],
)
def test_answers_that_are_the_same(one, other):
    assert normalised(one) == normalised(other)
    assert Question("?", (one,), "1").right(other) and Question("?", ("x", other), "1").right(one)


@pytest.mark.parametrize(
    ("one", "other"), [("yes", "no"), ("four", "five"), ("nothing", "no"), ("yesterday", "yes"), ("1", "10")]
)
def test_answers_that_are_not_the_same(one, other):
    assert not Question("?", (one,), "1").right(other)


def test_a_number_has_two_spellings():
    assert spellings("Four") == spellings("4") == ("four", "4") and spellings("Yes") == ("yes",)


def test_choices_are_the_options_or_follow_from_the_answer():
    assert Question("?", ("Yes",), "1").choices() == ("yes", "no")
    assert len(Question("?", ("3",), "1").choices()) == 11
    assert Question("?", ("yes",), "1", options=("yes", "maybe")).choices() == ("yes", "maybe")
    with pytest.raises(ValueError, match=r"expects 'red', which is neither .*; give it options"):
        Question("?", ("red",), "1").choices()


def test_questions_come_back_from_metadata():
    questions = [
        question("a"),
        Question("Which?", ("red", "pink"), "b", ("a",), ("attribute",), ("red", "pink", "blue")),
    ]
    assert from_metadata(to_metadata(questions)) == questions


@pytest.mark.parametrize(
    ("questions", "said"),
    [
        (None, "has no 'questions'"),
        ([], "has no 'questions'"),
        (["a"], "has a question 1 that is no object"),
        ([{"text": "a?", "answers": ["yes"]}], "has a question 1 that has no 'id'"),
        ([{"text": "a?", "answers": "yes", "id": "1"}], "'answers' that are no list of texts"),
        ([{"text": "a?", "answers": [], "id": "1"}], "has no 'answers'"),
        ([{"text": "a?", "answer": ["yes"], "id": "1"}], "unknown key 'answer' .did you mean 'answers'"),
        ([{"text": "a?", "answers": ["yes"], "id": "1"}] * 2, "two questions of one id: '1'"),
        ([{"text": "a?", "answers": ["yes"], "id": "1", "parents": ["2"]}], "parent '2' is no question"),
    ],
)
def test_malformed_questions_are_refused_before_anything_is_asked(questions, said):
    benchmark = ShapesQuestions()
    metadata = {"include": [{"class": "circle", "count": 1}]} if questions is None else {"questions": questions}
    if questions is None:
        with pytest.raises(ValueError, match=said):
            from_metadata(metadata)
        assert benchmark.missing_metadata(Prompt("a circle", metadata=metadata)) is None
    else:
        with pytest.raises(ValueError, match=f"cannot score 1 of 1 prompts; the first, 'a circle', .*{said}"):
            benchmark.check([Prompt("a circle", metadata=metadata)])


def test_means_by_hand():
    questions = [question("a"), question("b", "a", skill="count"), question("c", "b"), question("d", skill="count")]
    answers = [Answer(0.2, "no"), Answer(0.9, "yes"), Answer(0.8, "yes"), Answer(0.5, "yes")]
    soft = aggregates(questions, answers, hard=False)
    assert soft == pytest.approx(
        {
            "arithmetic": 2.4 / 4,
            "geometric": (0.2 * 0.9 * 0.8 * 0.5) ** 0.25,
            "dependent": (0.2 + 0.5) / 4,
            "accuracy": 0.75,
        }
    )
    hard = aggregates(questions, answers, hard=True)
    assert hard == {"arithmetic": 0.75, "geometric": 0.0, "dependent": 0.25, "accuracy": 0.75}
    assert by_skill(questions, answers, hard=False) == pytest.approx({"skill/object": 0.5, "skill/count": 0.7})
    assert by_skill(questions, answers, hard=True) == {"skill/object": 0.5, "skill/count": 1.0}


def test_the_order_of_questions_does_not_matter_to_dependence():
    questions = [question("c", "b"), question("b", "a"), question("a")]
    answers = [Answer(1.0, "yes"), Answer(1.0, "yes"), Answer(0.0, "no")]
    assert aggregates(questions, answers, hard=True)["dependent"] == 0.0
    assert aggregates(questions[::-1], answers[::-1], hard=True)["dependent"] == 0.0


@pytest.mark.parametrize("hard", [True, False])
def test_a_question_without_answer_is_missing_and_not_wrong(hard):
    questions = [question("a"), question("b"), question("c", skill="count")]
    answers = [Answer(1.0, "yes"), Answer(math.nan), Answer(1.0, "yes")]
    assert all(math.isnan(mean) for mean in aggregates(questions, answers, hard).values())
    assert by_skill(questions, answers, hard) == {"skill/count": 1.0}


def test_an_unknown_aggregation_is_refused():
    with pytest.raises(ValueError, match=r"no aggregation is called 'geometrc' \(did you mean 'geometric'\?\)"):
        ShapesQuestions(aggregation="geometrc")


def test_an_unknown_question_is_rejected():
    with pytest.raises(
        ValueError, match=r"cannot parse the question 'Is it good\?'; it parses 'Is there a red circle\?'"
    ):
        ShapesAnswerer().answer(torch.zeros(1, 3, 32, 32), [[Question("Is it good?", ("yes",), "1")]])
