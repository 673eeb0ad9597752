"""Prompts that are longer than a text encoder reads."""

import warnings

import pytest
import torch

from hypernoise_pl.cli.quiet import count_cut_prompts
from hypernoise_pl.progress.truncation import Truncation, collect_truncations
from hypernoise_pl.rewards.clip import CLIPScore
from hypernoise_pl.shapes.tokenizer import clip_tokenizer

SHORT = ["a red circle", "two squares", "a star left of a ring"]
LONG = ["a red circle left of " * 4 + "a blue star", "two squares and " * 8 + "a ring"]


def test_distinct_prompts_are_counted_and_the_first_that_is_cut_is_shown():
    read = Truncation("reader")
    with pytest.warns(UserWarning, match="not read") as seen:
        read.check(clip_tokenizer(), [*SHORT, *LONG], 12)
    read.check(clip_tokenizer(), [*LONG, *SHORT, *LONG], 12)
    (warning,) = seen
    tokens = 4 * 5 + 3 + 2  # words, begin and end; ten words are read
    assert f"reader: prompt {LONG[0]!r} has {tokens} tokens, it reads 12; not read: 'a red circle left of a red" in str(
        warning.message
    )
    assert str(warning.message).count("a blue star") == 2  # in the prompt, and in what is not read
    told = "reader: 2 of 5 prompts (40 %) are longer than the 12 tokens it reads; the rest of them is not seen"
    assert read.summary() == told


def test_prompts_of_just_the_length_are_whole():
    read = Truncation("reader")
    read.check(clip_tokenizer(), ["a red circle left of a blue star and ring"], 12)  # ten words, begin and end
    assert read.summary() is None


def test_a_command_says_the_share_at_its_end_even_if_it_fails(capsys):
    readers: list[Truncation] = []

    def fail() -> None:
        with count_cut_prompts():
            readers[:] = [Truncation("reader"), Truncation("another")]
            with pytest.warns(UserWarning, match="not read"):
                readers[0].check(clip_tokenizer(), [*SHORT, *LONG], 12)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert capsys.readouterr().err == f"warning: {readers[0].summary()}\n"


def test_readers_are_collected_within_a_block_alone():
    before = Truncation("before")
    with collect_truncations() as outer, collect_truncations() as inner:
        within = Truncation("within")
    assert inner == [within] and outer == [] and before not in inner


def test_a_reward_counts_a_prompt_once_however_often_it_scores(clip_folder):
    reward = CLIPScore(str(clip_folder))
    prompts = [*SHORT, *LONG, LONG[0]]
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(3):
            reward(torch.rand(len(prompts), 3, 16, 16), prompts)
    assert len(seen) == 1
    assert reward.truncation.summary().startswith(f"CLIPScore {clip_folder}: 2 of 5 prompts (40 %)")
