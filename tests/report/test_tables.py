"""A run's summary and table on rollouts made by hand: every figure is computed here in another way."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hypernoise_pl.report.tables import summarise, table
from hypernoise_pl.report.tally import Tally
from hypernoise_pl.types import Prompt, Rollout

PROMPTS = [
    Prompt("a1", "a", index=0),
    Prompt("a2", "a", index=1),
    Prompt("b1", "b", index=2),
    Prompt("b2", "b", index=3),
]
WEIGHTS = {"clip": 1.0, "logged": 0.0}
BASE, REFINED, FOUND = [0, 1, 0, 0, 1, 0, 0, 0], [1, 1, 0, 0, 1, 0, 1, 1], [1, 1, 1, 1]  # two noises a prompt; one


def tally(right: list[int], clip: list[float], prompts=PROMPTS, logged: float = 0.0, **facts) -> Tally:
    """Of a method, entered prompt by prompt as batches are."""
    each, found = len(right) // len(prompts), Tally()
    for place, prompt in enumerate(prompts):
        rows = slice(place * each, (place + 1) * each)
        scores = {"clip": torch.tensor(clip[rows]), "logged": torch.full((each,), logged)}
        noise, images = torch.zeros(each, 1), torch.rand(each, 3, 2, 2)
        rollout = Rollout([prompt] * each, noise, noise, images, scores, **{"nfe": 1, "label": "base", **facts})
        found.add(rollout, torch.tensor(right[rows]), WEIGHTS)
    return found


def three(**options) -> dict[str, Tally]:
    steps = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    return {
        "base": tally(BASE, steps, **options),
        "hypernetwork": tally(
            REFINED, [1.0, 1.0, 1.0, 4.0, 4.0, 5.0, 5.0, 8.0], nfe=2, label="hypernetwork", **options
        ),
        "reference": tally(FOUND, [9.0] * 4, nfe=50, nfe_backward=25, label="ReNO (50 iterations)", **options),
    }


def test_share_of_the_reference_is_of_the_noises_that_it_started_from():
    summary = summarise(three(), 0.0)
    assert summary["gain"] == pytest.approx((4 + 1) / 8 - 2 / 8)  # over all noises
    assert summary["reference_gain"] == pytest.approx(3 / 4)  # first noises: the base is right on one of four
    assert summary["gain_beside_reference"] == pytest.approx(2 / 4)  # there: right on three of four
    assert summary["share_of_reference_gain"] == pytest.approx(2 / 3)


def test_reference_is_named_and_its_backward_passes_are_counted():
    shown = table(summarise(three(), 0.0))
    assert "base  hypernetwork  ReNO (50 iterations)" in shown
    assert "50 + 25 back" in shown and "judge, mean over tags" in shown
    assert (
        "On each prompt's first noise ReNO (50 iterations) gains +0.750 and the hypernetwork +0.500, 67% of it" in shown
    )
    assert "95 % interval" in shown and "over 4 prompts" in shown
    methods = three()
    methods["reference"].nfe_backward = 0
    assert " back" not in table(summarise(methods, 0.0))


def test_win_rate_counts_a_tie_one_half_and_is_a_mean_over_tags():
    # a: win, tie, loss, win -> 2.5 of 4; b: tie, tie, loss, win -> 2 of 4
    assert summarise(three(), 0.0)["win_rate"] == pytest.approx((2.5 / 4 + 2 / 4) / 2)


def test_a_logged_reward_without_a_score_does_not_touch_the_weighted_reward():
    plain, poisoned = summarise(three(), 0.0), summarise(three(logged=math.nan), 0.0)
    for method in ("base", "hypernetwork", "reference"):
        assert poisoned[method]["weighted_reward"] == plain[method]["weighted_reward"]
        assert poisoned[method]["rewards"] == plain[method]["rewards"] | {"logged": None}
    assert poisoned["win_rate"] == plain["win_rate"]
    assert poisoned["base"]["missing"] == {"logged": 8} and plain["base"]["missing"] == {}
    lines = {line[:20].strip(): line.split()[-3:] for line in table(poisoned).splitlines()}
    assert lines["reward logged"] == ["-", "-", "-"]
    assert lines["no score by logged"] == ["8", "8", "4"]


def test_an_image_without_a_score_is_left_out_and_counted():
    methods = {
        "base": tally(BASE, [0.0, math.nan, 2.0, 2.0, 4.0, 4.0, 6.0, 6.0]),
        "hypernetwork": tally(REFINED, [1.0, 1.0, 1.0, 1.0, 5.0, 5.0, 5.0, 5.0]),
    }
    summary = summarise(methods, 0.0)
    assert summary["base"]["rewards"]["clip"] == pytest.approx((4 / 3 + 5) / 2)
    assert summary["base"]["missing"] == {"clip": 1}
    assert summary["win_rate"] == pytest.approx((1 / 3 + 2 / 4) / 2)


def test_no_interval_is_explained():
    methods = {
        name: tally(right[:2], [0.0, 1.0], PROMPTS[:1]) for name, right in (("base", BASE), ("hypernetwork", REFINED))
    }
    summary = summarise(methods, 0.0)
    assert summary["interval"] is None and summary["win_interval"] is None
    assert "(1 prompt; no interval: a tag has a single prompt)" in table(summary)


def test_first_images_of_prompts_that_two_processes_made():
    methods, other = three(), three(prompts=[Prompt("c", "a", index=9), *PROMPTS[1:]])
    joined = methods["base"]
    joined += other["base"]
    first = joined.first_of_each_prompt()
    assert first.prompts == [0, 1, 2, 3, 9] and first.reward == [0.0, 2.0, 4.0, 6.0, 0.0]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=8, max_size=8))
def test_win_rate_lies_in_its_interval_and_that_of_the_other_is_its_complement(scores):
    base, refined = ([pair[side] for pair in scores] for side in (0, 1))
    one, other = (
        summarise({"base": tally(BASE, a), "hypernetwork": tally(REFINED, b)}, 0.0)
        for a, b in ((base, refined), (refined, base))
    )
    low, high = one["win_interval"]
    assert low - 1e-12 <= one["win_rate"] <= high + 1e-12
    assert one["win_rate"] == pytest.approx(1 - other["win_rate"], abs=1e-12)
    low, high = one["interval"]
    assert low - 1e-12 <= one["gain"] <= high + 1e-12
