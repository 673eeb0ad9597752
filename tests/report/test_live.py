"""Signs of reward hacking, curves, and the pictures that a page of a run keeps."""

import re

from hypernoise_pl.report.curves import POINTS, Curve, over_steps, thinned
from hypernoise_pl.report.history import TRAIN, VALIDATION, History
from hypernoise_pl.report.live import PICTURES, Told, live_page
from hypernoise_pl.report.signs import signs, validated
from hypernoise_pl.report.tally import Tally


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


def test_a_judge_that_falls_while_the_reward_rises_is_a_sign():
    best = validation(100, 1.0, 0.2, (0.15, 0.25))
    assert signs([best]) == signs([]) == []
    assert signs([best, validation(200, 2.0, 0.16, (0.11, 0.21))]) == []  # within the interval
    assert signs([best, validation(200, 0.5, 0.1, (0.05, 0.15))]) == []  # the reward falls too
    (found,) = signs([best, validation(200, 2.0, 0.1, (0.05, 0.15))])
    assert found.startswith("Since step 100 the reward rises and the judge falls") and "+0.200 to +0.100" in found
    (found,) = signs([validation(200, 2.0, -0.1, (-0.15, -0.05))])
    assert "the judge finds the images worse than the base's (-0.100)" in found


def test_images_that_become_alike_and_a_reward_that_pays_for_the_others_are_signs():
    assert signs([validation(1, 1.0, None, diversity=0.81, clip=-0.05, pick=None)]) == []
    alike, paid = signs([validation(1, 1.0, None, diversity=0.5, clip=-0.4, pick=0.9)])
    assert "their mean distance is 50% of the base's" in alike
    assert paid.endswith("lower is clip (-0.40 standard deviations).")
    assert signs([validation(1, -1.0, None, diversity=None, clip=-0.4)]) == []  # nothing is hacked


def test_what_a_validation_says_is_over_the_base():
    plain = {"prompts": [0, 0, 1, 1], "tags": ["a"] * 4, "diversity": [0.4, 0.4]}
    base = Tally(**plain, scores={"clip": [0.0, 2.0, 0.0, 2.0]}, reward=[0.0, 2.0, 0.0, 2.0], correct=[0, 1, 0, 0])
    better = plain | {"diversity": [0.2, 0.2]}
    refined = Tally(**better, scores={"clip": [2.0, 4.0, 2.0, 4.0]}, reward=[2.0, 4.0, 2.0, 4.0], correct=[1, 1, 0, 0])
    found = validated({"base": base, "hypernetwork": refined})
    assert found["reward_gain"] == 2 and found["gain"] == 0.25 and found["diversity"] == 0.5
    assert found["deviations"] == {"clip": 2.0}
    blind = validated({"base": Tally(**plain, scores={}, reward=[0.0] * 4), "hypernetwork": refined})
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
    assert over_steps("flat", [Curve("one", [(3, 7.0)])], 3).count("<circle") == 1
    assert over_steps("none", [Curve("none", [])], 3) == ""


def test_a_long_run_keeps_so_many_pictures_and_its_page_stays_small(tmp_path):
    history = History(tmp_path)
    history.begin(0)
    for step in range(1, 4001):
        history.add(TRAIN, step, {"train/loss": float(step), "train/reward": float("nan"), "train/reward/a": 0.5})
    for step in range(10, 4001, 10):
        row = validation(step, 1.0, None) | {"picture": f"images/validation-{step:06d}.png"}
        history.add(VALIDATION, figures={}, **row)
    page = live_page(history, Told("a & b", "hypernetwork", "Running", True, 4000, "model: <x>", "now"))
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
