"""Direct noise optimisation: gradient ascent with a penalty on improbable noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from hypernoise_pl.search.base import Search
from hypernoise_pl.search.problem import NoiseProblem


@dataclass(frozen=True)
class DNO(Search):
    """Adam on the noise, regularised by the log probability of its shuffled blocks under Gaussian noise.

    Args:
        iterations: gradient steps, each with one forward and one backward pass.
        lr: learning rate of Adam.
        regularity: weight of the log probability.
        block: k, elements of a block; a divisor of the noise's size.
        shuffles: random permutations a step; the log probability is their mean.

    Raises:
        ValueError: if a number is below 1.

    Source: Tang et al. 2024 (arXiv 2405.18881), sections 3 and 4. Rate and weight are choices for short runs.
    """

    needs_gradient: ClassVar[bool] = True

    iterations: int = 50
    lr: float = 0.05
    regularity: float = 0.01
    block: int = 2
    shuffles: int = 16

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.block < 1 or self.shuffles < 1:
            raise ValueError(f"direct noise optimisation needs numbers of 1 at least, got {self}")

    def run(self, problem: NoiseProblem) -> None:
        """Take gradient steps until the iterations or the budget end.

        Raises:
            ValueError: if ``block`` does not divide the noise's size.
        """
        start = problem.draw(1)
        noise = start.noise.clone().requires_grad_()  # [B, 1, *Z]
        if noise[0].numel() % self.block:
            raise ValueError(f"noise of {noise[0].numel()} elements cannot be cut into blocks of {self.block}")
        optimizer = torch.optim.Adam([noise], self.lr)
        for _ in range(self.iterations):
            if not problem.affords(1):
                return
            _, gradient = problem.score_and_grad(start.moved(noise))
            with torch.enable_grad():
                shuffled = _shuffled(noise, problem.streams.normal(self.shuffles))
                likely = log_probability(shuffled, self.block).mean(1).sum()
                (regular,) = torch.autograd.grad(likely, noise)
            noise.grad = -gradient - self.regularity * regular
            optimizer.step()

    def nfe(self, steps: int = 1, nfe_per_draw: int = 0, nfe_per_score: int = 0) -> int:
        """One image an iteration."""
        return nfe_per_draw + self.iterations * (steps + nfe_per_score)

    def fit_to(self, budget: int, steps: int = 1, nfe_per_draw: int = 0, nfe_per_score: int = 0) -> Self:
        """The search with as many iterations as fit the budget."""
        return replace(self, iterations=self._count(budget, nfe_per_draw, steps + nfe_per_score))


def log_probability(flat: Tensor, block: int) -> Tensor:
    """Upper bound of the log probability that Gaussian noise deviates as far in its blocks' mean and covariance.

    Args:
        flat: [..., d] noise.
        block: k, a divisor of d.

    Returns:
        [...], at most 0; near 0 for typical noise.

    Source: Tang et al. 2024, Lemma 1 (after Wainwright 2019): for m blocks z_i of k elements,
        P(|mean z| > M) < 2 exp(-m M^2 / 2k) and
        P(|mean z z^T - I| > M) < 2 exp(-m max(sqrt(1 + M) - 1 - sqrt(k / m), 0)^2 / 2).
    """
    blocks = flat.unflatten(-1, (-1, block))
    count = blocks.shape[-2]
    mean = blocks.mean(-2).square().sum(-1)
    covariance = blocks.mT @ blocks / count - torch.eye(block, dtype=flat.dtype, device=flat.device)
    spread = torch.linalg.matrix_norm(covariance, 2)
    excess = ((1 + spread).sqrt() - 1 - math.sqrt(block / count)).clamp(min=0)
    first = math.log(2) - count * mean / (2 * block)
    second = math.log(2) - count * excess.square() / 2
    return first.clamp(max=0) + second.clamp(max=0)


def _shuffled(noise: Tensor, keys: Tensor) -> Tensor:
    """[B, P, d] the elements of each noise in P random orders."""
    order = keys.flatten(2).argsort(-1)
    return noise.flatten(1)[:, None].expand_as(order).gather(-1, order)
