"""The columns that ranked verifiers give a search."""

import pytest
import torch

from hypernoise_pl.rewards.ensemble import RankMean, WeightedSum
from hypernoise_pl.rewards.pixels import Brightness, Redness


def test_each_counted_reward_is_a_column_and_a_negative_weight_turns_its_order_round():
    bright, red, images, prompts = Brightness(), Redness(), torch.rand(4, 3, 8, 8), ["a"] * 4
    rewards = {"bright": bright, "red": red, "logged": Brightness()}
    columns = RankMean(WeightedSum(rewards, {"bright": 2.0, "red": -0.5, "logged": 0.0}))(images, prompts)
    assert torch.equal(columns, torch.stack([bright(images, prompts), -red(images, prompts)], 1))


def test_ranks_without_a_counted_reward_are_refused():
    with pytest.raises(ValueError, match="every reward has weight 0; a mean of ranks needs one with a weight"):
        RankMean(WeightedSum({"bright": Brightness()}, {"bright": 0.0}))
