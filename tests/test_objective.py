"""Penalties against their formulas, the loss against Algorithm 1."""

import math

import torch
from torch import Tensor

from hypernoise_pl.objective import (
    L2Mean,
    L2Sum,
    NoPenalty,
    NormPenalty,
    Objective,
    weighted_sum,
)
from hypernoise_pl.types import Rollout
from tests.tiny import PROMPTS


def draw(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def rollout(**scores: list[float]) -> Rollout:
    given = {name: torch.tensor(score) for name, score in scores.items()}
    return Rollout(PROMPTS, draw(3, 2, 4, 4), draw(3, 2, 4, 4, seed=1), torch.zeros(3, 3, 8, 8), given, 2)


def test_l2_as_a_sum_is_half_the_square_and_as_a_mean_a_dth_of_it():
    one = rollout(a=[0.0, 0.0, 0.0])
    expected = torch.stack([0.5 * (f**2).sum() for f in one.residual])
    torch.testing.assert_close(L2Sum()(one), expected)
    torch.testing.assert_close(L2Mean()(one) * one.residual[0].numel(), expected)
    assert not NoPenalty()(one).any()


def test_the_two_l2_penalties_differ_by_the_rewards_scale_alone():
    one, weights = rollout(a=[1.0, 2.0, 4.0]), {"a": 1.0}
    d = one.residual[0].numel()
    by_mean, _ = Objective(L2Mean(), reward_scale=0.3)(one, weighted_sum(one.scores, weights))
    by_sum, _ = Objective(L2Sum(), reward_scale=0.3 * d)(one, weighted_sum(one.scores, weights))
    torch.testing.assert_close(by_mean * d, by_sum)


def test_norm_penalty_is_the_density_of_the_norm_less_its_best():
    one = rollout(a=[0.0, 0.0, 0.0])
    flat = one.refined.flatten(1)
    free = flat.shape[1] - 1

    def density(norm: Tensor) -> Tensor:
        return 0.5 * norm**2 - free * norm.log()

    best = density(torch.tensor(math.sqrt(free)))
    torch.testing.assert_close(NormPenalty()(one), density(flat.norm(dim=1)) - best, rtol=1e-4, atol=1e-4)
    assert (NormPenalty()(one) >= 0).all()


def test_the_loss_is_weighted_penalty_less_scaled_reward():
    one = rollout(a=[1.0, 2.0, 3.0], b=[0.5, 0.0, -1.0])
    loss, terms = Objective(L2Sum(), 0.1, 5.0)(one, weighted_sum(one.scores, {"a": 2.0, "b": -1.0}))
    reward = torch.tensor([1.5, 4.0, 7.0])
    torch.testing.assert_close(terms["reward"], reward)
    torch.testing.assert_close(terms["total"], 0.1 * L2Sum()(one) - 5.0 * reward)
    torch.testing.assert_close(loss, terms["total"].mean())


def test_a_reward_of_weight_zero_is_left_out_even_if_it_is_not_a_number():
    scores = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([math.nan, math.inf])}
    torch.testing.assert_close(weighted_sum(scores, {"a": 1.0, "b": 0.0}), scores["a"])
    assert torch.equal(weighted_sum(scores, {"a": 0.0, "b": 0.0}), torch.zeros(2))
