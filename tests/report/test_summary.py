"""The figures of a summary on rows made by hand: every figure is computed here in another way."""

import json
import math
from dataclasses import replace
from statistics import fmean

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hypernoise_pl.metrics.fidelity import kernel_distance
from hypernoise_pl.report.summary import ImageStats
from tests.report.handmade import BASE, COMPARISON, PROMPTS, REFINED, compared, fitted, rollouts, rows, three


def test_gains_shares_and_costs():
    found = compared()
    methods = found["methods"]
    assert methods["none"]["judge"] == {"mean": 0.25, "a": 0.25, "b": 0.25}
    assert methods["best-16"]["gain"] == pytest.approx(0.5)
    assert methods["net"]["gain"] == methods["net"]["paired_gain"] == pytest.approx(0.25)
    assert found["best_search"] == "best-16"  # the oracle and what starts from the adapter do not count
    assert methods["net"]["share_of_best_gain"] == pytest.approx(0.5)
    assert methods["net"]["cost_ratio"] == pytest.approx(25)
    assert methods["best-16"]["cost_ratio"] == 1
    low, high = methods["net"]["interval"]
    assert low <= 0.25 <= high and low < high
    assert methods["net"]["win_rate"] == 1 and methods["none"]["win_rate"] == 0.5  # ties
    rewards = [row.scores["clip"] for row in COMPARISON["none"]]
    deviation = torch.tensor(rewards).std(correction=0).item()
    assert methods["best-16"]["gain_in_deviations"]["clip"] == pytest.approx(2 / deviation)
    assert methods["best-16"]["gain_in_deviations"]["pick"] == pytest.approx(0)


def test_share_of_the_reference_is_of_the_noises_that_it_started_from():
    found = fitted(three())
    refined, reference = found["methods"]["hypernetwork"], found["methods"]["reference"]
    assert refined["gain"] == pytest.approx((4 + 1) / 8 - 2 / 8)  # over all noises
    assert reference["gain"] == pytest.approx(3 / 4)  # first noises: the base is right on one of four
    assert refined["paired_gain"] == pytest.approx(2 / 4)  # there: right on three of four
    assert refined["share_of_best_gain"] == pytest.approx(2 / 3) and found["best_search"] == "reference"
    assert (found["prompts"], found["seeds"], found["judged_by"]) == (4, 2, "Judged by hand.")


def test_without_a_judge_the_gain_is_of_the_weighted_reward():
    found = fitted({name: own for name, own in three(judged=False).items()})
    assert found["gain_by"] == "weighted_reward" and found["methods"]["base"]["judge"] == {}
    assert found["methods"]["hypernetwork"]["gain"] == pytest.approx(1 / 8)


def test_fidelity_of_a_single_image_is_none():
    alone = {label: COMPARISON[label][:1] for label in ("none", "net")}
    stats = {label: ImageStats(None, torch.ones(1, 5)) for label in alone}
    assert compared(alone, **stats)["methods"]["net"]["kid"] is None


def test_fidelity_is_of_the_features_given():
    draws = torch.Generator().manual_seed(0)
    features = {label: torch.randn(8, 5, generator=draws) + k for k, label in enumerate(COMPARISON)}
    found = compared(**{label: ImageStats(None, own) for label, own in features.items()})["methods"]
    assert found["none"]["kid"] is None
    assert found["net"]["kid"] == pytest.approx(kernel_distance(features["none"], features["net"], paired=True))
    assert found["net"]["kid"] > found["best-16"]["kid"] > 0


def test_every_mean_is_over_tags_and_every_interval_of_the_mean_before_it():
    """Three prompts of one tag and one of the other would weigh 3 to 1 in a mean over images."""
    tags = {0: "a", 1: "a", 2: "a", 3: "b", 4: "b"}
    base = rows("none", [0] * 10)[:8] + rows("none", [0] * 10)[6:8]
    for place, row in enumerate(base):
        row.prompt, row.tag = place // 2, tags[place // 2]
    own = [replace(row, reward=row.reward + (1.0 if row.tag == "a" else -1.0)) for row in base]
    own[0] = replace(own[0], reward=base[0].reward)  # a tie
    found = compared({"none": base, "x": own})["methods"]
    assert found["x"]["win_rate"] == pytest.approx((5.5 / 6 + 0) / 2)
    low, high = found["x"]["win_interval"]
    assert low <= found["x"]["win_rate"] <= high and found["none"]["win_interval"] == (0.5, 0.5)
    rewards = {tag: [row.reward for row in own if row.tag == tag] for tag in "ab"}
    assert found["x"]["weighted_reward"] == pytest.approx(fmean(map(fmean, rewards.values())))


def test_win_rate_counts_a_tie_one_half_and_is_a_mean_over_tags():
    # a: win, tie, loss, win -> 2.5 of 4; b: tie, tie, loss, win -> 2 of 4
    assert fitted(three())["methods"]["hypernetwork"]["win_rate"] == pytest.approx((2.5 / 4 + 2 / 4) / 2)


def test_images_without_a_score_are_left_out_and_counted():
    own = [replace(row, scores=dict(row.scores)) for row in COMPARISON["best-16"]]
    own[0].scores["clip"] = math.nan
    found = compared({"none": COMPARISON["none"], "x": own})["methods"]
    known = [[row.scores["clip"] for row in own[1:] if row.tag == tag] for tag in "ab"]
    assert found["x"]["rewards"]["clip"] == pytest.approx(fmean(map(fmean, known)))
    assert found["x"]["unscored_images"] == {"clip": 1} and found["none"]["unscored_images"] == {}
    for row in own:
        row.scores["clip"] = math.nan
    found = compared({"none": COMPARISON["none"], "x": own})
    figures = found["methods"]["x"]
    assert figures["rewards"]["clip"] is None and figures["gain_in_deviations"]["clip"] is None
    json.dumps(found, allow_nan=False)


def test_a_logged_reward_without_a_score_does_not_change_the_weighted_reward():
    plain, poisoned = fitted(three()), fitted(three(logged=math.nan))
    for method in ("base", "hypernetwork", "reference"):
        own, other = poisoned["methods"][method], plain["methods"][method]
        assert own["weighted_reward"] == other["weighted_reward"] and own["win_rate"] == other["win_rate"]
        assert own["rewards"] == other["rewards"] | {"logged": None}
    assert poisoned["methods"]["base"]["unscored_images"] == {"logged": 8}
    assert plain["methods"]["base"]["unscored_images"] == {}


def test_a_pair_without_a_score_is_left_out_of_the_win_rate():
    methods = {
        "base": rollouts("base", BASE, [0.0, math.nan, 2.0, 2.0, 4.0, 4.0, 6.0, 6.0]),
        "hypernetwork": rollouts("hypernetwork", REFINED, [1.0, 1.0, 1.0, 1.0, 5.0, 5.0, 5.0, 5.0]),
    }
    found = fitted(methods)["methods"]
    assert found["base"]["rewards"]["clip"] == pytest.approx((4 / 3 + 5) / 2)
    assert found["base"]["unscored_images"] == {"clip": 1}
    assert found["hypernetwork"]["win_rate"] == pytest.approx((1 / 3 + 2 / 4) / 2)


def test_there_is_no_interval_where_a_tag_has_a_single_prompt():
    methods = {
        name: rollouts(name, right[:2], [0.0, 1.0], PROMPTS[:1])
        for name, right in (("base", BASE), ("hypernetwork", REFINED))
    }
    found = fitted(methods)["methods"]["hypernetwork"]
    assert found["interval"] is None and found["win_interval"] is None


def test_one_slow_unit_does_not_count():
    slow = [
        replace(row, cost=replace(row.cost, seconds=100.0)) if index < 2 else row
        for index, row in enumerate(COMPARISON["net"])
    ]
    found = compared({"none": COMPARISON["none"], "x": slow})["methods"]
    assert found["x"]["seconds_per_image"] == pytest.approx(0.02)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=8, max_size=8))
def test_win_rate_lies_in_its_interval_and_that_of_the_other_is_its_complement(scores):
    base, refined = ([pair[side] for pair in scores] for side in (0, 1))
    one, other = (
        fitted({"base": rollouts("base", BASE, a), "hypernetwork": rollouts("hypernetwork", REFINED, b)})["methods"]
        for a, b in ((base, refined), (refined, base))
    )
    own, reverse = one["hypernetwork"], other["hypernetwork"]
    low, high = own["win_interval"]
    assert low - 1e-12 <= own["win_rate"] <= high + 1e-12
    assert own["win_rate"] == pytest.approx(1 - reverse["win_rate"], abs=1e-12)
    low, high = own["interval"]
    assert low - 1e-12 <= own["gain"] <= high + 1e-12
