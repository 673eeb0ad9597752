"""GenEval's rule on cases written by hand, and its geometry against a computation of another kind."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypernoise_pl.metrics.geneval.rules import Detection, filter_detections, relations, verdict


def at(name: str, x: float, y: float, colour: str | None = None, size: float = 10.0) -> Detection:
    return Detection(name, (x - size / 2, y - size / 2, x + size / 2, y + size / 2), colour)


CAT, DOG = at("cat", 20, 50, "white"), at("dog", 80, 50, "brown")
ONE_CAT, ONE_DOG = {"class": "cat", "count": 1}, {"class": "dog", "count": 1}
TWO_CATS = {"include": [{"class": "cat", "count": 2}], "exclude": [{"class": "cat", "count": 3}]}
LEFT = {"include": [ONE_DOG, ONE_CAT | {"position": ["left of", 0]}]}
RIGHT = {"include": [ONE_DOG, ONE_CAT | {"position": ["right of", 0]}]}
WHITE = {"include": [ONE_CAT | {"color": "white"}]}
TWO_WHITE = {"include": [{"class": "cat", "count": 2, "color": "white"}]}
EXCHANGED = {"include": [ONE_CAT | {"color": "brown"}, ONE_DOG | {"color": "white"}]}
BOUND = {"include": [ONE_CAT | {"color": "white"}, ONE_DOG | {"color": "brown"}]}


@pytest.mark.parametrize(
    ("found", "clauses", "right"),
    [
        ([], {"include": [ONE_CAT]}, False),
        ([DOG], {"include": [ONE_CAT]}, False),
        ([CAT], {"include": [ONE_CAT]}, True),
        ([CAT, CAT, DOG], {"include": [ONE_CAT]}, True),  # more than asked does not hurt without an exclusion
        ([CAT], {"include": [ONE_CAT, ONE_DOG]}, False),
        ([DOG, CAT], {"include": [ONE_CAT, ONE_DOG]}, True),
        ([CAT], TWO_CATS, False),
        ([CAT, CAT], TWO_CATS, True),
        ([CAT, DOG, CAT], TWO_CATS, True),
        ([CAT, CAT, CAT], TWO_CATS, False),
        ([CAT], WHITE, True),
        ([at("cat", 0, 0, "black")], WHITE, False),
        ([at("cat", 0, 0)], WHITE, False),  # a colour without a name is not the one asked for
        ([at("cat", 0, 0, "black"), CAT], WHITE, False),  # the most confident one is looked at, and it alone
        ([CAT, at("cat", 0, 0, "black")], WHITE, True),
        ([CAT, CAT], TWO_WHITE, True),
        ([CAT, at("cat", 0, 0, "black"), CAT], TWO_WHITE, False),
        ([CAT, DOG], BOUND, True),
        ([CAT, DOG], EXCHANGED, False),
        ([CAT, DOG], LEFT, True),
        ([CAT, DOG], RIGHT, False),
        ([CAT], LEFT, False),
        ([at("cat", 95, 50), CAT, DOG], LEFT, False),  # again the most confident cat decides
        ([CAT, at("cat", 95, 50), DOG], LEFT, True),
    ],
)
def test_the_rule_on_hand_written_cases(found, clauses, right):
    assert verdict(found, clauses).correct is right


@pytest.mark.parametrize(("second", "right"), [((70, 52), True), ((10, 52), False)])
def test_a_relation_must_hold_to_every_object_of_the_group(second, right):
    clauses = {"include": [{"class": "dog", "count": 2}, ONE_CAT | {"position": ["left of", 0]}]}
    assert verdict([CAT, DOG, at("dog", *second)], clauses).correct is right


def test_y_grows_downwards():
    assert relations(at("cat", 50, 10), at("dog", 50, 90)) == {"above"}
    assert relations(at("cat", 50, 90), at("dog", 50, 10)) == {"below"}


def test_near_each_other_is_no_relation():
    assert relations(at("cat", 50, 50), at("dog", 51.9, 51.9)) == set()  # within 0.1 * (10 + 10) on both axes
    assert relations(at("cat", 50, 50), at("dog", 50, 50)) == set()


def test_a_diagonal_is_two_relations():
    assert relations(at("cat", 20, 20), at("dog", 80, 80)) == {"left of", "above"}


@settings(max_examples=300, deadline=None)
@given(length=st.floats(5, 100), angle=st.floats(0, 2 * math.pi), width=st.floats(1, 30), height=st.floats(1, 30))
def test_relations_agree_with_the_angle_between_centres(length, angle, width, height):
    """By trigonometry: each side's component, shortened by a tenth of the sizes, against cosine 60 degrees."""
    x, y = length * math.cos(angle), length * math.sin(angle)
    one = Detection("one", (x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    other = Detection("other", (-width, -height, width, height))
    margin_x, margin_y = 0.3 * width / length, 0.3 * height / length
    sides = {
        "right of": math.cos(angle) - margin_x,
        "left of": math.cos(angle + math.pi) - margin_x,
        "below": math.sin(angle) - margin_y,
        "above": math.sin(angle + math.pi) - margin_y,
    }
    if all(abs(component - 0.5) > 1e-9 for component in sides.values()):
        assert relations(one, other) == {side for side, component in sides.items() if component > 0.5}


@settings(max_examples=100, deadline=None)
@given(x=st.floats(-100, 100), y=st.floats(-100, 100))
def test_relations_reverse_with_the_objects(x, y):
    opposite = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
    one, other = at("one", x, y, size=17), at("other", 3, -2)
    assert {opposite[side] for side in relations(one, other)} == relations(other, one)


def test_the_surest_sixteen_of_a_class_above_the_threshold_are_kept():
    cats = [Detection("cat", (place, 0, place + 1, 1), score=0.3 + place / 100) for place in range(20)]
    dogs = [Detection("dog", (place, 0, place + 1, 1), score=0.9) for place in range(2)]
    found = filter_detections([*dogs, *cats], "colors")
    assert found == [*reversed(dogs), *reversed(cats[4:])]  # of equal ones the later first
    assert filter_detections(cats[:2], "two_object") == [cats[1]]  # above 0.3, not 0.3 itself
    assert filter_detections(dogs, "counting") == []


def test_every_clause_that_does_not_hold_has_a_line():
    clauses = {"include": [TWO_WHITE["include"][0], ONE_DOG | {"position": ["above", 0]}], "exclude": [ONE_DOG]}
    found = verdict([CAT, at("cat", 0, 0, "black"), DOG], clauses)
    assert not found.correct and found.reason.split("\n") == [
        "expected white cat>=2, found 1 white; and 1 black, 1 white",
        "no target for dog to be above",
        "expected dog<1, found 1",
    ]
