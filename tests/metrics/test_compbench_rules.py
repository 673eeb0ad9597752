"""T2I-CompBench's pure rules: noun chunks, places and numbers, by hand and against independent readings."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypernoise_pl.data.compbench import CompBenchFolder
from hypernoise_pl.metrics.compbench.chunks import noun_chunks, words
from hypernoise_pl.metrics.compbench.detections import class_of, select_detections
from hypernoise_pl.metrics.compbench.numeracy import count_score, counted_objects, remove_duplicates
from hypernoise_pl.metrics.compbench.spatial import (
    LOCALITIES,
    Relation,
    intersection_over_union,
    position,
    relation_of,
    spatial_score,
)
from hypernoise_pl.metrics.geneval.classes import class_names
from hypernoise_pl.metrics.geneval.rules import Detection

SHARED = Path(__file__).parents[3] / "shared" / "data"
OBJECTS = {"cup": "cup", "cups": "cup", "bear": "bear", "bears": "bear", "sheep": "sheep", "mice": "mouse"}
PLACES, SIZES = st.integers(0, 9), st.integers(1, 9)
EDGES = st.tuples(PLACES, PLACES, SIZES, SIZES).map(lambda e: (e[0], e[1], e[0] + e[2], e[1] + e[3]))


@pytest.mark.parametrize(
    ("prompt", "chunks"),  # as spaCy 3.8's en_core_web_sm has them
    [
        ("a red book and a yellow vase", ["a red book", "a yellow vase"]),
        ("a brown horse and a red orange", ["a brown horse", "a red orange"]),
        ("rubber gloves and a wooden table", ["rubber gloves", "a wooden table"]),
        ("an oval sink and a rectangular mirror.", ["an oval sink", "a rectangular mirror"]),
        (
            "a triangular slice of pie and a rectangular pie dish",
            ["a triangular slice", "pie", "a rectangular pie dish"],
        ),
        ("A black and white cat sits in a white sink.", ["A black and white cat", "a white sink"]),
        (
            "A long, narrow yellow kitchen with black and white floor tiles.",
            ["A long, narrow yellow kitchen", "black and white floor tiles"],
        ),
        (
            "A woman in a white shirt and jeans holds a pink umbrella in the rain.",
            ["A woman", "a white shirt", "jeans", "a pink umbrella", "the rain"],
        ),
        (
            "The glass vase and metallic stand display the wooden flowers on the fabric dresser.",
            ["The glass vase", "metallic stand", "the wooden flowers", "the fabric dresser"],
        ),
        (
            "The pyramidal roof and the triangular archway were the defining features of the ancient temple.",
            ["The pyramidal roof", "the triangular archway", "the defining features", "the ancient temple"],
        ),
        ("a cup on the left of a dog", ["a cup", "a dog"]),  # "the left" is not asked about
        ("the top", ["the top"]),
        ("top", []),
        ("red and blue", []),
        ("", []),
    ],
)
def test_noun_chunks(prompt, chunks):
    assert noun_chunks(prompt) == chunks


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no published prompt files in {SHARED}")
def test_every_published_prompt_has_what_is_judged():
    plurals = words()["objects"]
    objects = {name: name for name in plurals} | {many: one for one, many in plurals.items()}
    folder = CompBenchFolder(categories=["color", "shape", "texture", "spatial", "numeracy"])
    lacks = {"spatial": relation_of, "numeracy": lambda text: counted_objects(text, objects)}
    prompts = folder.read(SHARED)
    assert len(prompts) >= 3490 and all(lacks.get(p.tag, noun_chunks)(p.text) for p in prompts)


def test_at_most_eight_chunks_are_asked_about():
    assert noun_chunks(" and ".join(f"a thing{number}" for number in range(12)))[-1] == "a thing7"


@given(st.text(max_size=60))
def test_chunks_are_parts_of_the_prompt_in_its_order(prompt):
    place = 0
    for chunk in noun_chunks(prompt):
        place = prompt.index(chunk, place) + len(chunk)


@pytest.mark.parametrize(
    ("prompt", "relation"),
    [
        ("a dog on the left of a cup", Relation("dog", "on the left of", "cup")),
        ("a airplane on the top of a horse.", Relation("airplane", "on the top of", "horse")),
        ("A woman on side of a cup", Relation("woman", "on side of", "cup")),
        ("the cat near the dog", Relation("cat", "near", "dog")),
        ("a dog and a cup", None),
        ("a hot dog next to a cup", None),
        ("a dog behind a cup", None),
    ],
)
def test_relation_of_a_prompt(prompt, relation):
    assert relation_of(prompt) == relation


@pytest.mark.parametrize(
    ("locality", "one", "other", "expected"),
    [
        ("next to", (0, 0, 10, 10), (140, 300, 150, 310), 1),  # 140 across, 300 down
        ("near", (0, 0, 10, 10), (300, 200, 310, 210), 150 / 300),
        ("on side of", (0, 0, 10, 10), (150, 150, 160, 160), 1),  # 150 over 150
        ("on the left of", (0, 0, 10, 10), (20, 5, 30, 15), 1),
        ("on the right of", (0, 0, 10, 10), (20, 5, 30, 15), 0),
        ("on the left of", (0, 0, 10, 10), (20, 20, 30, 30), 0),  # no axis leads
        ("on the top of", (0, 0, 10, 10), (0, 20, 10, 30), 1),
        ("on the bottom of", (0, 20, 10, 30), (0, 0, 10, 10), 1),
        ("on the left of", (0, 0, 10, 10), (5, 0, 15, 10), 0.1 / (50 / 150)),
        ("on the left of", (0, 0, 10, 10), (0, 0, 10, 10), 0),
        ("on top of", (0, 0, 10, 10), (0, 20, 10, 30), 0),  # the original has no rule for it
        ("", (0, 0, 10, 10), (0, 20, 10, 30), 0),
    ],
)
def test_position_by_hand(locality, one, other, expected):
    assert position(locality, one, other) == pytest.approx(expected)


@given(EDGES, EDGES)
def test_overlap_is_the_share_of_common_cells(one, other):
    cells = [{(x, y) for x in range(b[0], b[2]) for y in range(b[1], b[3])} for b in (one, other)]
    assert intersection_over_union(one, other) == pytest.approx(len(cells[0] & cells[1]) / len(cells[0] | cells[1]))


@given(st.sampled_from(LOCALITIES), EDGES, EDGES, st.integers(1, 40))
def test_position_by_direction(locality, one, other, times):
    one, other = ([edge * times for edge in box] for box in (one, other))
    dx, dy = (other[k] + other[k + 2] - one[k] - one[k + 2] for k in (0, 1))
    degrees = math.degrees(math.atan2(dy, dx)) % 360  # clockwise on the screen, from the right
    towards = {"on the left of": 0, "on the top of": 90, "on the right of": 180, "on the bottom of": 270}
    if locality == "on top of":
        expected = 0.0
    elif locality in towards:
        apart = abs((degrees - towards[locality] + 180) % 360 - 180)
        cells = intersection_over_union(one, other)
        expected = min(1, 0.1 / cells if cells else 1) if (dx or dy) and apart < 45 - 1e-9 else 0
    else:
        expected = min(1.0, 150 / max(abs(dx), abs(dy), 1e-9) * 2) if min(abs(dx), abs(dy)) >= 300 else 1.0
    assert position(locality, one, other) == pytest.approx(expected)


def test_spatial_score_is_of_the_surest_objects_and_at_least_a_half():
    left, right = Detection("dog", (0, 0, 10, 10), score=0.9), Detection("cup", (50, 0, 60, 10), score=0.8)
    far = Detection("dog", (90, 0, 99, 10), score=0.6)
    beside = Relation("dog", "on the left of", "cup")
    assert spatial_score([left, right, far], beside) == pytest.approx(0.225 + 0.2 + 0.5)
    assert spatial_score([far, right, left], beside) == 0  # 0.15 + 0.2 + 0
    assert spatial_score([left], beside) == spatial_score([], beside) == 0
    assert spatial_score([left], Relation("dog", "near", "dog")) == pytest.approx(0.45 + 0.5)


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("eight cups", [("cup", 8)]),
        ("three mice, a cup and two bears sat in the sun", [("mouse", 3), ("cup", 1), ("bear", 2)]),
        ("one sheep and two sheep", [("sheep", 1), ("sheep", 2)]),
        ("two cups shared a burger on the bear", [("cup", 2)]),
        ("nine cups", []),
        ("a", []),
    ],
)
def test_counted_objects(prompt, found):
    assert counted_objects(prompt, OBJECTS) == found


def test_boxes_on_each_other_are_one_object_of_a_class():
    outer, inner = Detection("cup", (0, 0, 100, 100)), Detection("cup", (40, 40, 60, 60))
    moved, other = Detection("cup", (20, 0, 120, 100)), Detection("bear", (0, 0, 100, 100))
    assert remove_duplicates([outer, inner, moved, other]) == [outer, moved, other]
    assert remove_duplicates([inner, outer]) == [inner]
    assert remove_duplicates([outer, Detection("cup", (9, 0, 109, 100))]) == [outer]  # 92 of 101 shared
    assert len(remove_duplicates([outer, Detection("cup", (11, 0, 111, 100))])) == 2  # 90 of 101


def test_a_name_that_nothing_has_stands_for_names_that_contain_it():
    assert count_score(["teddy bear", "teddy bear"], [("bear", 2)]) == 1
    assert count_score(["teddy bear", "bear"], [("bear", 2)]) == 0.5
    assert count_score(["teddy bear"], [("bear", 1), ("teddy bear", 1)]) == 0.5  # the first has renamed it


@given(st.lists(st.sampled_from("abc")), st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3)), min_size=1))
def test_count_score_is_the_mean_over_objects(names, wanted):
    there = Counter(names)
    halves = [(there[name] > 0) + (there[name] == number) for name, number in wanted]
    assert count_score(names, wanted) == pytest.approx(sum(halves) / 2 / len(wanted))


def test_classes_of_words_in_coco():
    coco = class_names()
    assert [class_of(word, coco, {}) for word in ("girl", "sofa", "phone", "dog", "ship", "table")] == [
        "person",
        "couch",
        "cell phone",
        "dog",
        "boat",
        "dining table",
    ]
    assert class_of("frog", coco, {}) is class_of("mouse", ["mouse"], {}) is None  # a mouse is an animal here
    assert class_of("mouse", ["mouse"], {"mouse": "mouse"}) == "mouse"
    assert class_of("sofa", ["sofa"], {}) == "sofa"


@pytest.mark.parametrize(
    ("size", "factor"), [((1024, 1024), 479 / 1024), ((512, 1024), 480 / 1024), ((64, 64), 479 / 64)]
)
def test_boxes_are_measured_in_the_original_scale(size, factor):
    weak, edge, sure = (Detection("cup", (0, 8, 16, 32), score=score) for score in (0.3, 0.5, 0.51))
    (found,) = select_detections([weak, edge, sure], *size)
    assert found.score == 0.51 and found.box == pytest.approx((0, 8 * factor, 16 * factor, 32 * factor))
