"""A comparison's figures on hand-made rows, its sections, its chart and its folder."""

import itertools
import json
import math
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
import torch

from hypernoise_pl.metrics.fidelity import kernel_distance
from hypernoise_pl.report.charts import APART, Line, against_compute
from hypernoise_pl.report.page import verdict, write_report
from hypernoise_pl.report.results import Results, Row
from hypernoise_pl.report.sections import lines, refinement, reward_hacking
from hypernoise_pl.report.standings import ImageStats, standings

PROMPTS = [(0, "a"), (1, "a"), (2, "b"), (3, "b")]  # index, tag


def rows(label: str, right: list[int], reward: float = 1.0, **facts) -> list[Row]:
    """Two images a prompt; the judge's verdicts in order."""
    common = {
        "method": label.partition("-")[0],
        "search": "RandomSearch",
        "settings": "RandomSearch(candidates=16)",
        "verifier": "weighted",
        "trained": False,
        "budget": 16,
        "steps": 1,
        "nfe": 16,
        "nfe_backward": 0,
        "decodes": 16,
        "verified": 16,
        "missing": 0.0,
        "seconds": 0.5,
        "device": "cpu",
        **facts,
    }
    return [
        Row(
            label=label,
            prompt=prompt,
            text=f"prompt {prompt}",
            tag=tag,
            seed=seed,
            judge=float(right[2 * prompt + seed]),
            reward=reward + 0.1 * prompt,
            scores={"clip": reward + prompt, "pick": 2.0 + (prompt + seed) % 3},
            image="",
            **common,
        )
        for prompt, tag in PROMPTS
        for seed in (0, 1)
    ]


ALL = {
    "none": rows(
        "none", [1, 0, 0, 0, 1, 0, 0, 0], 0.0, search="NoSearch", settings="NoSearch()", verified=0, nfe=1, seconds=0.01
    ),
    "best-16": rows("best-16", [1, 1, 1, 0, 1, 1, 1, 0], 2.0),
    "oracle": rows("oracle", [1] * 8, 0.5, verifier="judge", seconds=0.6),
    "refined": rows("refined", [1, 1, 1, 1, 1, 1, 1, 0], 2.0, trained=True, nfe=16),
    "net": rows(
        "net",
        [1, 1, 0, 0, 1, 0, 1, 0],
        1.0,
        search="NoSearch",
        settings="NoSearch()",
        verified=0,
        trained=True,
        nfe=2,
        seconds=0.02,
    ),
}


@pytest.fixture
def found():
    return standings(ALL, "none", {label: ImageStats(0.2) for label in ALL})


def test_gains_shares_and_costs_by_hand(found):
    assert found["none"]["judge"] == {"mean": 0.25, "a": 0.25, "b": 0.25}
    assert found["best-16"]["gain"] == pytest.approx(0.5)
    assert found["net"]["gain"] == pytest.approx(0.25)
    assert found["net"]["share_of_best_gain"] == pytest.approx(
        0.5
    )  # of best-16: the oracle and what was trained are out
    assert found["net"]["cost_ratio"] == pytest.approx(25)
    assert found["best-16"]["cost_ratio"] == 1
    low, high = found["net"]["interval"]
    assert low <= 0.25 <= high and low < high
    assert found["net"]["win_rate"] == 1 and found["none"]["win_rate"] == 0.5  # ties
    rewards = [row.scores["clip"] for row in ALL["none"]]
    deviation = torch.tensor(rewards).std(correction=0).item()
    assert found["best-16"]["in_deviations"]["clip"] == pytest.approx(2 / deviation)
    assert found["best-16"]["in_deviations"]["pick"] == pytest.approx(0)
    assert "best-16 gains most of the searches: +0.500 over none." in verdict(found, "none")
    assert "net recovers 50% of it" in verdict(found, "none") and "in 1/25 of its time" in verdict(found, "none")


def test_the_verdict_says_a_time_as_it_is():
    for seconds, said in ((0.35, "in 0.7 times its time"), (0.25, "in 1/2 of its time"), (1.0, "in 2 times its time")):
        methods = {label: ALL[label] for label in ("none", "best-16")}
        methods["net"] = [replace(row, seconds=seconds) for row in ALL["net"]]
        assert said in verdict(standings(methods, "none", {label: ImageStats(None) for label in methods}), "none")
    methods = {label: ALL[label] for label in ("none", "net")}
    found = verdict(standings(methods, "none", {label: ImageStats(None) for label in methods}), "none")
    assert found.startswith("No search gains anything over none. net gains +0.250 (95 % interval ")


def test_fidelity_of_a_single_image_is_none():
    alone = {label: ALL[label][:1] for label in ("none", "net")}
    found = standings(alone, "none", {label: ImageStats(None, torch.ones(1, 5)) for label in alone})
    assert found["net"]["kid"] is None


def test_fidelity_is_of_the_features_given():
    draws = torch.Generator().manual_seed(0)
    features = {label: torch.randn(8, 5, generator=draws) + k for k, label in enumerate(ALL)}
    found = standings(ALL, "none", {label: ImageStats(None, features[label]) for label in ALL})
    assert found["none"]["kid"] is None
    assert found["net"]["kid"] == pytest.approx(kernel_distance(features["none"], features["net"], paired=True))
    assert found["net"]["kid"] > found["best-16"]["kid"] > 0


def test_sections(found):
    table = lines(found, "none")
    assert all(len(row) == len(table[0]) for row in table) and [row[0] for row in table[1:]] == list(ALL)
    pairs = refinement(ALL)
    assert [row[:6] for row in pairs[1:]] == [["refined", "best-16", "16", "16", "16", "0.875"]]
    deceived = {row[0]: row for row in reward_hacking(found)[1:]}
    assert set(deceived) == {"best-16", "oracle", "refined"}
    assert deceived["best-16"][1:3] == ["weighted", f"{found['best-16']['in_deviations']['weighted']:+.2f}"]


def test_every_mean_is_over_tags_and_every_interval_of_the_mean_before_it():
    """Three prompts of one tag and one of the other would weigh 3 to 1 in a mean over images."""
    tags = {0: "a", 1: "a", 2: "a", 3: "b", 4: "b"}
    base = rows("none", [0] * 10)[:8] + rows("none", [0] * 10)[6:8]
    for place, row in enumerate(base):
        row.prompt, row.tag = place // 2, tags[place // 2]
    own = [replace(row, label="x", reward=row.reward + (1.0 if row.tag == "a" else -1.0)) for row in base]
    own[0] = replace(own[0], reward=base[0].reward)  # a tie
    found = standings({"none": base, "x": own}, "none", {"none": ImageStats(None), "x": ImageStats(None)})
    assert found["x"]["win_rate"] == pytest.approx((5.5 / 6 + 0) / 2)
    low, high = found["x"]["win_interval"]
    assert low <= found["x"]["win_rate"] <= high and found["none"]["win_interval"] == (0.5, 0.5)
    rewards = {tag: [row.reward for row in own if row.tag == tag] for tag in "ab"}
    assert found["x"]["reward"] == pytest.approx(fmean(map(fmean, rewards.values())))


def test_scores_that_a_reward_did_not_give_are_left_out_and_counted():
    own = [replace(row, label="x", scores=dict(row.scores)) for row in ALL["best-16"]]
    own[0].scores["clip"] = math.nan
    found = standings({"none": ALL["none"], "x": own}, "none", {"none": ImageStats(None), "x": ImageStats(None)})
    known = [[row.scores["clip"] for row in own[1:] if row.tag == tag] for tag in "ab"]
    assert found["x"]["rewards"]["clip"] == pytest.approx(fmean(map(fmean, known)))
    assert found["x"]["without_score"] == {"clip": 1} and found["none"]["without_score"] == {}
    head, first, second = lines(found, "none")
    assert (first[head.index("no clip")], second[head.index("no clip")]) == ("0", "1")
    for row in own:
        row.scores["clip"] = math.nan
    found = standings({"none": ALL["none"], "x": own}, "none", {"none": ImageStats(None), "x": ImageStats(None)})
    assert found["x"]["rewards"]["clip"] is None and found["x"]["in_deviations"]["clip"] is None
    json.dumps(found, allow_nan=False)


def test_a_method_that_only_takes_more_steps_is_no_search():
    steps = [replace(row, label="steps", method="steps", steps=4) for row in rows("steps", [1] * 8, verified=0)]
    methods = ALL | {"steps": steps}
    found = standings(methods, "none", {label: ImageStats(None) for label in methods})
    assert verdict(found, "none").startswith("best-16 gains most of the searches: +0.500")


@pytest.mark.parametrize("count", [2, 12, 45])
def test_a_chart_names_every_line_and_no_two_names_touch(count):
    many = [
        Line(f"m<{k}>", "x" if k % 2 else "", bool(k % 3), [(2.0**k, 0.1), (3.0 * 2**k, 0.5)]) for k in range(count)
    ]
    drawn = against_compute(many, "cost", "gain")
    root = ElementTree.fromstring(drawn)
    names = [text for text in root.iter("text") if text.get("class") is None]
    assert [text.text for text in names] == [line.name for line in many]
    height = float(root.get("viewBox").split()[-1])
    heights = sorted(float(text.get("y")) for text in names)
    assert min(b - a for a, b in itertools.pairwise(heights)) > APART - 0.2 and heights[0] > 0 and heights[-1] <= height
    points = [rect for rect in root.iter("rect")]
    assert len(points) == 2 * count
    across = [float(rect.get("x")) for rect in points[::2]]
    gaps = [b - a for a, b in itertools.pairwise(across)]
    assert across == sorted(across) and max(gaps) - min(gaps) < 0.21  # doublings are equally far apart


def test_seconds_of_several_devices_are_said_not_to_compare(tmp_path):
    results = Results(tmp_path)
    results.begin({}, lambda before, now: None)
    for label in ("none", "best-16"):
        halves = ALL[label][:4], [replace(row, device="another") for row in ALL[label][4:]]
        for number, own in enumerate(halves):
            results.add(label, number, own, torch.rand(4, 3, 6, 6))
    write_report(results, ["none", "best-16"], "none", "about")
    said = "seconds are of several devices (another, cpu) and do not compare"
    assert said in (tmp_path / "report.md").read_text() and said in (tmp_path / "report.html").read_text()


def test_one_slow_unit_does_not_count():
    slow = [
        replace(row, label="x", seconds=100.0 if place < 2 else row.seconds) for place, row in enumerate(ALL["net"])
    ]
    found = standings({"none": ALL["none"], "x": slow}, "none", {"none": ImageStats(None), "x": ImageStats(None)})
    assert found["x"]["seconds_per_image"] == pytest.approx(0.02)


def test_a_report_from_a_folder(tmp_path: Path):
    results = Results(tmp_path)
    results.begin({"a": 1}, lambda before, now: None if before == now else "a")
    draws = torch.Generator().manual_seed(0)
    for label, own in ALL.items():
        pictures = torch.rand(8, 3, 6, 6, generator=draws)
        results.add(label, 0, own[:4], pictures[:4])
        assert results.has(label, 0) and not results.has(label, 1)
        results.add(label, 1, own[4:], pictures[4:])
        back = results.images(results.rows([label]))
        torch.testing.assert_close(back, pictures, rtol=0, atol=0.5 / 255 + 1e-6)
    assert results.rows(["net"]) == ALL["net"]
    found = write_report(results, list(ALL), "none", "about <this>", lambda images: images.flatten(1))
    assert found["none"]["diversity"] > 0 and found["net"]["kid"] is not None
    page = (tmp_path / "report.html").read_text()
    assert "about &lt;this&gt;" in page and page.count("<img") == 4 * len(ALL)
    with pytest.raises(ValueError, match="holds results with a; give another --output"):
        results.begin({"a": 2}, lambda before, now: "a")
    (tmp_path / "comparison.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        results.begin({"a": 1}, lambda before, now: None)
