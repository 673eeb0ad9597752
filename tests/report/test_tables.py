"""Tables and verdicts of summaries."""

import math
from dataclasses import replace

import pytest

from hypernoise_pl.report.tables import few_methods, many_methods, refinement, reward_hacking, table
from hypernoise_pl.report.verdict import verdict
from tests.report.handmade import BASE, COMPARISON, PROMPTS, REFINED, compared, fitted, rollouts, rows, three


def test_every_method_is_a_row_and_columns_without_figures_are_left_out():
    found = table(compared())
    assert all(len(row) == len(found[0]) for row in found)
    assert [row[0] for row in found] == ["method", *COMPARISON]
    assert "KID" not in found[0] and "diversity" not in found[0]
    best = dict(zip(found[0], found[2], strict=True))
    assert (best["judge"], best["gain"], best["share of best"], best["NFE"]) == ("0.750", "+0.500", "100%", "16")
    assert many_methods(compared()).splitlines()[0].split()[-3:] == ["s", "/", "image"]


def test_few_methods_are_columns_and_backward_passes_are_counted():
    shown = few_methods(fitted(three(), {"seconds": 60.0}))
    lines = {line[:17].strip(): line.split()[-3:] for line in shown.splitlines()}
    assert shown.splitlines()[0].endswith("base      hypernetwork  ReNO (50 iterations)")
    assert "50 + 25 back" in shown and lines["judge"] == ["0.250", "0.625", "1.000"]
    assert lines["images"] == ["8", "8", "4"]
    assert shown.endswith("Trained in 60 s.\nJudged by hand.")
    assert " back" not in few_methods(fitted(three(nfe_backward=0)))


def test_images_without_a_score_are_shown():
    own = [replace(row, scores=dict(row.scores)) for row in COMPARISON["best-16"]]
    own[0].scores["clip"] = math.nan
    head, first, second = table(compared({"none": COMPARISON["none"], "x": own}))
    assert (first[head.index("no clip")], second[head.index("no clip")]) == ("0", "1")
    shown = few_methods(fitted(three(logged=math.nan)))
    lines = {line[:17].strip(): line.split()[-3:] for line in shown.splitlines()}
    assert lines["logged"] == ["-", "-", "-"] and lines["no logged"] == ["8", "8", "4"]


def test_searches_from_refined_noise_are_paired_with_the_same_searches_from_gaussian_noise():
    pairs = refinement(COMPARISON)
    assert [row[:6] for row in pairs[1:]] == [["refined", "best-16", "16", "16", "16", "0.875"]]


def test_reward_hacking_compares_the_verifier_with_other_rewards():
    found = compared()
    by_label = {row[0]: row for row in reward_hacking(found)[1:]}
    assert set(by_label) == {"best-16", "oracle", "refined"}
    rise = found["methods"]["best-16"]["gain_in_deviations"]["weighted"]
    assert by_label["best-16"][1:3] == ["weighted", f"{rise:+.2f}"]


def test_the_verdict_names_the_best_search_and_the_share_that_is_recovered():
    said = verdict(compared())
    assert said.startswith(
        "best-16 gains most of the searches: +0.500 over none. net gains +0.250 over none by the judge"
    )
    assert said.endswith("It recovers 50% of the gain of best-16, in 1/25 of its time.")


def test_the_verdict_pairs_a_reference_that_has_fewer_images():
    said = verdict(fitted(three()))
    assert said.startswith(
        "ReNO (50 iterations) gains most of the searches: +0.750 over base. hypernetwork gains +0.375 "
    )
    assert "95 % interval" in said and "over 4 prompts" in said and "wins 56% of the images" in said
    share = "It recovers 67% of the gain of ReNO (50 iterations), on the 4 images that both have: +0.500"
    assert said.endswith(f"{share}, in 1/20 of its time.")


def test_the_verdict_explains_a_missing_interval():
    methods = {
        name: rollouts(name, right[:2], [0.0, 1.0], PROMPTS[:1])
        for name, right in (("base", BASE), ("hypernetwork", REFINED))
    }
    assert "(1 prompt; no interval: a tag has a single prompt)" in verdict(fitted(methods))


def test_the_verdict_without_a_search_or_a_gain():
    said = verdict(compared({label: COMPARISON[label] for label in ("none", "net")}))
    assert said.startswith("net gains +0.250 over none by the judge (95 % interval ")
    idle = {"none": COMPARISON["none"], "idle": rows("idle", [1, 0, 0, 0, 1, 0, 0, 0])}
    assert verdict(compared(idle)) == "No search gains anything over none."


@pytest.mark.parametrize(("seconds", "time"), [(0.35, "0.7 times"), (0.25, "1/2 of"), (1.0, "2 times")])
def test_the_verdict_gives_times_above_and_below_the_search(seconds, time):
    methods = {label: COMPARISON[label] for label in ("none", "best-16")}
    methods["net"] = [replace(row, cost=replace(row.cost, seconds=seconds)) for row in COMPARISON["net"]]
    assert verdict(compared(methods)).endswith(f"in {time} its time.")


def test_a_method_that_takes_more_steps_is_no_search():
    methods = COMPARISON | {"steps": rows("steps", [1] * 8, search=None, steps=4)}
    assert verdict(compared(methods)).startswith("best-16 gains most of the searches: +0.500")
