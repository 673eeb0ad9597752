"""Signs of reward hacking, curves, and the pictures that a page of a run keeps."""

import re
from dataclasses import replace

from hypernoise_pl.report.curves import POINTS, Curve, over_steps, thinned
from hypernoise_pl.report.history import TRAIN, VALIDATION, History
from hypernoise_pl.report.live import PICTURES, RunInfo, live_page
from hypernoise_pl.report.rows import Cost, ImageRow, MethodInfo
from hypernoise_pl.report.signs import Limits, signs, validated

METHOD = MethodInfo("base", "base", None, "", "weighted", False, 1, 1)
COST = Cost(1, 0, 0.5, "cpu")


def validation(step, reward_gain, gain, interval=None, diversity=1.0, **deviations):
    return {
        "step": step,
        "reward_gain": reward_gain,
        "reward_interval": None,
        "gain": gain,
        "interval": interval,
        "diversity": diversity,
        "deviations": deviations,
    }


def said(*validations, **limits) -> list[str]:
    return [sign.text for sign in signs(validations, Limits(**limits))]


def test_a_falling_judge_with_a_rising_reward_is_a_sign():
    best = validation(100, 1.0, 0.2, (0.15, 0.25))
    assert said(best) == said() == []
    assert said(best, validation(200, 2.0, 0.16, (0.11, 0.21))) == []  # within the interval
    assert said(best, validation(200, 0.5, 0.1, (0.05, 0.15))) == []  # the reward falls too
    (found,) = said(best, validation(200, 2.0, 0.1, (0.05, 0.15)))
    assert found.startswith("Since step 100 the reward rises and the judge falls") and "+0.200 to +0.100" in found
    (found,) = said(validation(200, 2.0, -0.1, (-0.15, -0.05)))
    assert "the judge finds the images worse than the base's (-0.100)" in found


def test_low_diversity_and_a_lower_trained_reward_are_signs():
    assert said(validation(1, 1.0, None, diversity=0.81, clip=-0.05, pick=None)) == []
    alike, paid = said(validation(1, 1.0, None, diversity=0.5, clip=-0.4, pick=0.9))
    assert "their mean distance is 50% of the base's" in alike
    assert paid.endswith("lower is clip (-0.40 standard deviations).")
    assert said(validation(1, -1.0, None, diversity=None, clip=-0.4)) == []  # nothing is hacked
    assert said(validation(1, 1.0, None, diversity=0.5, clip=-0.4), diversity=0.4, deviations=-0.5) == []


def test_a_falling_held_out_reward_with_rising_trained_rewards_is_a_sign():
    def row(step, reward_gain, *held_out):
        return validation(step, reward_gain, None, clip=-0.4) | {"held_out": {"clip": held_out}}

    best = row(100, 1.0, 0.5, (0.4, 0.6))
    assert said(best) == said(best, row(200, 2.0, 0.45, (0.35, 0.55))) == []
    assert said(best, row(200, 0.9, 0.1, (0.0, 0.2))) == []  # the trained reward falls too
    (found,) = signs([best, row(200, 2.0, 0.1, (0.0, 0.2))])
    assert found.name == "the held-out reward clip falls"
    assert found.text == (
        "Since step 100 the reward rises and the held-out reward clip falls: the gain by the weighted reward went from "
        "+1.000 to +2.000, that by the held-out reward clip from +0.500 to +0.100, below its 95 % interval there."
    )
    (worse,) = said(row(100, 1.0, -0.3, (-0.5, -0.1)))
    assert worse.endswith("the held-out reward clip finds the images worse than the base's (-0.300).")
    assert said(row(100, 1.0, -0.3, (-0.7, 0.1))) == []  # not surely
    assert said(row(100, -1.0, -0.3, (-0.5, -0.1))) == []


def test_a_growing_kl_with_a_stalling_reward_or_beyond_its_bound_is_a_sign():
    def row(step, reward_gain, value, name="noise/kl/total"):
        return validation(step, reward_gain, None) | {"kl": [name, value]}

    before = [row(100, 0.5, 1.0), row(200, 1.0, 4.0)]
    assert said(*before) == said(*before, row(300, 1.2, 12.0)) == said(*before, row(300, 1.02, 5.9)) == []
    (found,) = said(*before, row(300, 1.02, 6.1))
    assert found == (
        "Since step 200 the reward stalls and the noise moves on: the gain by the weighted reward went from +1.000 to "
        "+1.020, noise/kl/total from 4 to 6.1."
    )
    assert said(*before, row(300, 1.0, 12.0, "train/penalty")) == []  # another figure is no growth
    assert said(row(100, -0.5, 1.0), row(200, -0.6, 9.0)) == []  # it has not risen yet
    assert said(*before, row(300, 1.02, 6.1), growth=2.0) == []
    assert said(row(100, 0.5, 4.5), kl=4.0) == ["noise/kl/total is 4.5, above its bound of 4."]
    assert said(row(100, 0.5, 3.5), kl=4.0) == []


def test_figures_of_a_validation_are_over_the_base():
    def rows(clip, right):
        return [
            ImageRow(METHOD, COST, index // 2, "text", "a", index % 2, {"clip": score}, score, judge)
            for index, (score, judge) in enumerate(zip(clip, right, strict=True))
        ]

    methods = {
        "base": rows([0.0, 2.0, 0.0, 2.0], [0.0, 1.0, 0.0, 0.0]),
        "hypernetwork": rows([2.0, 4.0, 2.0, 4.0], [1.0, 1.0, 0.0, 0.0]),
    }
    diversity = {"base": 0.4, "hypernetwork": 0.2}
    found = validated(methods, diversity, {"clip": 1.0})
    assert found["held_out"] == {} and found["kl"] is None
    figures = {"noise/kl/total": 3.0, "train/penalty": 7.0}
    aside = validated(methods, diversity, {"clip": 0.0}, figures)
    assert aside["held_out"] == {"clip": [2.0, (2.0, 2.0)]} and aside["kl"] == ["noise/kl/total", 3.0]
    assert found["reward_gain"] == 2 and found["gain"] == 0.25 and found["diversity"] == 0.5
    assert found["deviations"] == {"clip": 2.0}
    unjudged = {name: [replace(row, judge=None) for row in own] for name, own in methods.items()}
    blind = validated(unjudged, dict.fromkeys(methods), {"clip": 1.0})
    assert blind["diversity"] is None
    assert blind["gain"] is None and blind["interval"] is None


def test_curves_are_thinned_and_hold_every_value():
    assert thinned([(1.0, 5.0)]) == [(1.0, 5.0)]
    many = [(float(step), float(step % 2)) for step in range(10 * POINTS)]
    assert len(thinned(many)) == POINTS and {value for _, value in thinned(many)} == {0.5}
    chart = over_steps(
        "a < b", [Curve("up", [(0, 1.0), (10, 3.0)], dots=True, band=[(0, 0.5, 2.0), (10, 2.0, 9.0)])], 10
    )
    assert 'aria-label="a &lt; b by step"' in chart and chart.count("<circle") == 2 and "<polygon" in chart
    (band,) = re.findall(r'<polygon points="([^"]+)"', chart)
    heights = [float(pair.partition(",")[2]) for pair in band.split()]
    assert len(heights) == 4 and all(0 < height < 220 for height in heights) and min(heights) == heights[1]
    marked = over_steps("up", [Curve("up", [(0, 1.0), (10, 3.0)])], 10, marks=[(5, "a < b")])
    (mark,) = re.findall(r'<line class="mark" x1="([^"]+)".*?<title>([^<]+)</title>', marked)
    assert float(mark[0]) == (float(re.findall(r'x1="([^"]+)"', chart)[0]) + 480 - 128) / 2  # half of the way
    assert mark[1] == "step 5: a &lt; b"
    assert over_steps("flat", [Curve("one", [(3, 7.0)])], 3).count("<circle") == 1
    assert over_steps("none", [Curve("none", [])], 3) == ""


def test_the_page_of_a_long_run_has_a_bounded_number_of_pictures(tmp_path):
    history = History(tmp_path)
    history.begin(0)
    for step in range(1, 4001):
        history.add(TRAIN, step, {"train/loss": float(step), "train/reward": float("nan"), "train/reward/a": 0.5})
    for step in range(10, 4001, 10):
        row = validation(step, 1.0, None) | {"picture": f"images/validation-{step:06d}.png"}
        history.add(VALIDATION, figures={}, **row)
    page = live_page(history, RunInfo("a & b", "hypernetwork", "Running", True, 4000, "model: <x>", "now"))
    steps = [int(step) for step in re.findall(r'"step": (\d+)', page)]
    assert len(steps) == PICTURES and steps[0] == 10 and steps[-1] == 4000 and steps == sorted(set(steps))
    assert f"{PICTURES} of 400 validations are here" in page and len(page) < 100_000
    assert "a &amp; b" in page and "model: &lt;x&gt;" in page
    again = History(tmp_path)
    again.begin(2005)
    assert again.curve(TRAIN, "train/loss")[-1] == (2005, 2005.0) and again.of(VALIDATION)[-1]["step"] == 2000
    assert again.curve(TRAIN, "train/reward") == []  # not a number is no figure
    again.add(VALIDATION, 2000, {"validation/win_rate": 0.5})
    assert [row["step"] for row in again.of(VALIDATION)].count(2000) == 1
    assert History(tmp_path).file.read_text().count('"step": 2000,') == 2  # training and validation
