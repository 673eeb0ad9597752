"""The mean over tags and its interval: exact where they can be computed by hand, and as wide as theory says."""

import pytest
import torch

from hypernoise_pl.metrics.intervals import bootstrap, in_words, mean_over_tags


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
