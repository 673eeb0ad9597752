"""The shapes world asked and answered offline, held against the scenes' own numbers."""

import json

import pytest
import torch

from hypernoise_pl.metrics.benchmark import ScoredImage, summarise_outcomes
from hypernoise_pl.metrics.image_files import ImageFile
from hypernoise_pl.metrics.questions.question import Question, from_metadata
from hypernoise_pl.shapes.caption import COLOURS, SHAPES, sample_prompts
from hypernoise_pl.shapes.questions import (
    ShapesAnswerer,
    ShapesQuestions,
    count_question,
    existence_question,
    position_question,
    question_metadata,
)
from hypernoise_pl.shapes.render import render_scenes
from hypernoise_pl.shapes.scene import PALETTE, sample_scenes

PAIRS = sample_prompts("train", 102, seed=7)
PROMPTS = [prompt for prompt, _ in PAIRS]
SCENES = sample_scenes([combination for _, combination in PAIRS], torch.Generator().manual_seed(3))
IMAGES = render_scenes(SCENES, 64)
WORDS = ("zero", "one", "two", "three", "four")


def objects(row: int) -> list[tuple[str, str, tuple[float, float]]]:
    """Shape, colour and centre of what stands in a scene, by its numbers."""
    colours = torch.cdist(SCENES.rgb[row], PALETTE).argmin(1)
    return [
        (SHAPES[SCENES.shape[row, slot]], list(COLOURS)[colours[slot]], tuple(SCENES.centre[row, slot].tolist()))
        for slot in SCENES.present[row].nonzero().flatten().tolist()
    ]


def asked_of(row: int) -> dict[str, str]:
    """Every question of existence and number, and those of a side that the scene decides clearly -> its answer."""
    there = objects(row)
    asked = {}
    for shape in SHAPES:
        own = [colour for name, colour, _ in there if name == shape]
        asked[existence_question(shape)] = "yes" if own else "no"
        asked[count_question(shape)] = WORDS[len(own)]
        asked |= {existence_question(shape, colour): "yes" if colour in own else "no" for colour in COLOURS}
        asked |= {position_question(shape, "above", other): "no" for other in SHAPES if not own and other != shape}
    if len(there) == 2 and there[0][0] != there[1][0]:
        (one, _, (x, y)), (other, _, (u, v)) = there
        if abs(x - u) > 3 * abs(y - v):  # clearly beside each other
            asked[position_question(one, "left of", other)] = "yes" if x < u else "no"
            asked[position_question(one, "right of", other)] = "yes" if x > u else "no"
            asked[position_question(one, "above", other)] = asked[position_question(other, "below", one)] = "no"
        if abs(y - v) > 3 * abs(x - u):
            asked[position_question(one, "above", other)] = "yes" if y > v else "no"
            asked[position_question(other, "above", one)] = "yes" if y < v else "no"
            asked[position_question(one, "left of", other)] = "no"
    return asked


def test_answers_are_the_scenes_own_facts():
    truth = [asked_of(row) for row in range(len(PROMPTS))]
    questions = [[Question(text, (answer,), text) for text, answer in own.items()] for own in truth]
    given = ShapesAnswerer().answer(IMAGES, questions)
    wrong = [row for row, answers in enumerate(given) if any(answer.probability != 1.0 for answer in answers)]
    assert not wrong, [
        (row, q.text, q.answers, a.given)
        for row in wrong
        for q, a in zip(questions[row], given[row])
        if not a.probability
    ]
    said = {answer for own in truth for answer in own.values()}
    assert said >= {"yes", "no", "zero", "two", "three", "four"}
    assert sum(text.startswith("Is the ") and answer == "yes" for own in truth for text, answer in own.items()) >= 20


def test_an_answerer_that_is_asked_for_the_opposite_is_wrong_everywhere():
    flipped = {"yes": "no", "no": "yes"}
    questions = [
        [Question(text, (flipped[answer],), text) for text, answer in asked_of(row).items() if answer in flipped]
        for row in range(len(PROMPTS))
    ]
    given = [answer.probability for own in ShapesAnswerer().answer(IMAGES, questions) for answer in own]
    assert sum(given) / len(given) < 0.01


def test_the_questions_of_a_prompt_by_tag():
    texts = {}
    for prompt in PROMPTS[:6]:
        own = from_metadata(question_metadata(prompt))
        texts[prompt.tag] = [(question.text, *question.answers, len(question.parents)) for question in own]
    counting = next(prompt for prompt in PROMPTS if prompt.tag == "counting")
    (clause,) = counting.metadata["include"]
    shape, number = clause["class"], WORDS[clause["count"]]
    assert texts["counting"] == [(existence_question(shape), "yes", 0), (count_question(shape), number, 1)]
    target, clause = next(prompt for prompt in PROMPTS if prompt.tag == "position").metadata["include"]
    assert texts["position"] == [
        (existence_question(target["class"]), "yes", 0),
        (existence_question(clause["class"]), "yes", 0),
        (position_question(clause["class"], clause["position"][0], target["class"]), "yes", 2),
    ]
    assert [len(texts[tag]) for tag in ("single_object", "two_object", "colors", "color_attr")] == [1, 2, 2, 4]


def test_true_pictures_score_one_and_shuffled_ones_say_what_is_wrong():
    benchmark = ShapesQuestions(aggregation="dependent")
    benchmark.check(PROMPTS)
    outcomes = benchmark(IMAGES, PROMPTS)
    figures = summarise_outcomes(outcomes, PROMPTS)
    assert figures["score"]["mean"] >= 0.99 and figures["score"]["left_out"] == 0
    assert {"arithmetic", "geometric", "accuracy"} <= figures.keys() and "dependent" not in figures
    assert {f"skill/{name}" for name in ("object", "attribute", "count", "position")} <= figures.keys()
    assert all(outcome.reason == "" for outcome in outcomes if outcome.value == 1)
    others = benchmark(IMAGES.roll(6, 0), PROMPTS)  # of the same tags
    assert 0.05 < summarise_outcomes(others, PROMPTS)["score"]["mean"] < 0.8
    for outcome in others:
        failing = [one for one in outcome.details["questions"] if not one["right"]]
        assert outcome.reason.splitlines() == [
            f"{one['question']} expected {one['expected'][0]}, given {one['given']}" for one in failing
        ]
        assert (outcome.value == 1) == (not failing)


def test_metadata_that_travels_with_a_prompt_gives_the_same_outcomes():
    plain = ShapesQuestions()
    written = [type(p)(p.text, p.tag, question_metadata(p), p.index) for p in PROMPTS]
    assert plain(IMAGES, written) == plain(IMAGES, PROMPTS)


def test_the_result_file_has_a_line_an_image(tmp_path):
    benchmark = ShapesQuestions()
    outcomes = benchmark(IMAGES[:3], PROMPTS[:3])
    scored = [ScoredImage(ImageFile(tmp_path, p, 0, f"{p.index}.png"), p, o) for p, o in zip(PROMPTS, outcomes)]
    lines = [json.loads(line) for line in benchmark.results(scored)["questions.jsonl"].splitlines()]
    assert [line["image"] for line in lines] == ["0.png", "1.png", "2.png"]
    assert [line["value"] for line in lines] == [outcome.value for outcome in outcomes]


def test_clauses_of_another_world_are_refused():
    prompt = type(PROMPTS[0])("a cow", metadata={"include": [{"class": "cow", "count": 1}]})
    with pytest.raises(
        ValueError, match="cannot score 1 of 1 prompts; the first, 'a cow', has a clause of class 'cow'"
    ):
        ShapesQuestions()(IMAGES[:1], [prompt])
