"""The mean over tags and its interval: exact where they can be computed by hand, and as wide as theory says."""

import math
from statistics import fmean

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hypernoise_pl.metrics.intervals import (
    bootstrap,
    estimate,
    in_words,
    interval_in_words,
    mean_over_tags,
    wins,
)


def test_tags_count_alike_however_many_images_they_have():
    assert mean_over_tags(torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0]), ["a", "a", "a", "a", "b"]) == 0.375


def test_figures_that_do_not_vary_between_prompts_have_no_width():
    values, prompts, tags = torch.tensor([1.0, 0.0] * 6), [p for p in range(6) for _ in "xx"], ["a"] * 6 + ["b"] * 6
    assert bootstrap(values, prompts, tags) == (0.5, 0.5)


def test_a_single_prompt_of_a_tag_tells_of_no_width():
    values, prompts, tags = torch.tensor([1.0, 0.0, 1.0, 0.0]), [0, 0, 1, 2], ["a", "a", "b", "b"]
    assert bootstrap(values, prompts, tags) is None and in_words(None) == "-"
    assert in_words(bootstrap(values[2:], prompts[2:], tags[2:])) == "+0.000 to +1.000"


def test_the_width_is_that_of_prompts_and_not_of_images():
    """Four equal images a prompt are worth one: the interval is 1.96 standard errors over prompts on either side."""
    each = (torch.rand(200, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    prompts = torch.arange(200).repeat_interleave(4)
    low, high = bootstrap(each.repeat_interleave(4), prompts.tolist(), ["a"] * 800, resamples=20000)
    mean, error = each.mean().item(), each.std().item() / 200**0.5
    assert (low, high) == pytest.approx((mean - 1.96 * error, mean + 1.96 * error), abs=0.008)


def test_a_paired_difference_is_surer_than_two_intervals():
    draws = torch.Generator().manual_seed(0)
    ease = torch.rand(120, generator=draws)
    base, refined = ease, ease + 0.1 + 0.02 * torch.randn(120, generator=draws)
    prompts, tags = list(range(120)), [("a", "b", "c")[i % 3] for i in range(120)]
    low, high = bootstrap(refined - base, prompts, tags)
    assert 0.09 < low < 0.1 < high < 0.11
    assert bootstrap(base, prompts, tags)[1] - bootstrap(base, prompts, tags)[0] > 5 * (high - low)


def test_a_seed_fixes_it():
    values, prompts, tags = torch.arange(30.0), list(range(30)), ["a"] * 30
    assert bootstrap(values, prompts, tags, seed=1) == bootstrap(values, prompts, tags, seed=1)
    assert bootstrap(values, prompts, tags, seed=1) != bootstrap(values, prompts, tags, seed=2)


FIGURES = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.integers(0, 3),
        st.one_of(st.floats(-5, 5), st.just(math.nan), st.sampled_from([0, 1])),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(FIGURES)
def test_an_estimate_is_the_mean_of_tag_means_and_lies_in_its_interval(figures):
    """Whatever the tags, numbers of images and missing figures; a prompt belongs to its tag."""
    tags, prompts = [tag for tag, _, _ in figures], [10 * "abc".index(tag) + prompt for tag, prompt, _ in figures]
    values = torch.tensor([value for _, _, value in figures], dtype=torch.float64)
    known = [
        (tag, prompt, value) for tag, prompt, (_, _, value) in zip(tags, prompts, figures) if not math.isnan(value)
    ]
    found = estimate(values, prompts, tags)
    of_tags = {tag: [value for other, _, value in known if other == tag] for tag, _, _ in known}
    if not known:
        assert math.isnan(found.mean) and found.interval is None
        return
    assert found.mean == pytest.approx(fmean(fmean(own) for own in of_tags.values()), abs=1e-12)
    alone = any(len({prompt for other, prompt, _ in known if other == tag}) < 2 for tag in of_tags)
    assert (found.interval is None) == alone
    if found.interval is not None:
        low, high = found.interval
        assert low - 1e-12 <= found.mean <= high + 1e-12


def test_interval_is_of_the_mean_over_images_where_prompts_have_different_numbers_of_them():
    """One prompt with three images and one with one: the four resamples and their means are written out."""
    values, prompts = torch.tensor([1.0, 1.0, 1.0, 0.0]), [0, 0, 0, 1]
    found = estimate(values, prompts, ["a"] * 4)
    assert found.mean == 0.75 and found.interval == (0.0, 1.0)  # means 1, 3/4, 3/4 and 0, each with 1/4


def test_wins_and_ties_and_missing_scores():
    nan = math.nan
    won = wins(torch.tensor([2.0, 1.0, 0.0, nan, 1.0, nan]), torch.tensor([1.0, 1.0, 1.0, 1.0, nan, nan]))
    torch.testing.assert_close(won, torch.tensor([1, 0.5, 0, nan, nan, nan], dtype=torch.float64), equal_nan=True)


def test_an_interval_in_words_says_how_many_prompts_or_why_there_is_none():
    assert interval_in_words((0.1, 0.2), 12) == "95 % interval +0.100 to +0.200 over 12 prompts"
    assert interval_in_words(None, 6) == "6 prompts; no interval: a tag has a single prompt"


def test_figures_and_tags_must_be_as_many():
    with pytest.raises(ValueError, match=r"values must have shape \[2\], got \[4\]"):
        mean_over_tags(torch.arange(4.0), ["a", "b"])
    with pytest.raises(ValueError, match=r"others must have shape \[4\], got \[1\]"):
        wins(torch.arange(4.0), torch.ones(1))
    assert math.isnan(mean_over_tags(torch.zeros(0), []))
