"""ReNO: gradient ascent on the noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from hypernoise_pl.search.base import Search
from hypernoise_pl.search.problem import NoiseProblem


@dataclass(frozen=True)
class ReNO(Search):
    """Reward-based noise optimisation: SGD on x0 minus the reward; the best iterate is the answer.

    Args:
        iterations: gradient steps, each with one forward and one backward pass.
        lr: learning rate of SGD with Nesterov momentum.
        momentum: momentum, in [0, 1).
        max_grad_norm: largest norm of the gradient of a prompt's objective (the reference has one prompt at a time).
        penalty: weight of the negative log density of the noise's norm, 1/2 |x|^2 - (d - 1) log |x|.
        white: whether the reward's gradient gets the flat power spectrum of white noise over each channel, with its own
            phases (after arXiv 2602.08646, which claims fewer iterations; experiments/search_scaling finds none).

    Raises:
        ValueError: if there is no iteration, or the momentum is not in [0, 1).

    Source: Eyring et al. 2024, section 3 and its reference settings.
    """

    needs_gradient: ClassVar[bool] = True

    iterations: int = 50
    lr: float = 5.0
    momentum: float = 0.9
    max_grad_norm: float = 0.1
    penalty: float = 0.01
    white: bool = False

    def __post_init__(self) -> None:
        if self.iterations < 1 or not 0 <= self.momentum < 1:
            raise ValueError(f"ReNO needs an iteration and a momentum in [0, 1), got {self}")

    def run(self, problem: NoiseProblem) -> None:
        """Take gradient steps until the iterations or the budget end."""
        start = problem.draw(1)
        noise = start.noise.clone().requires_grad_()  # [B, 1, *Z]
        optimizer = torch.optim.SGD([noise], self.lr, self.momentum, nesterov=self.momentum > 0)
        for _ in range(self.iterations):
            if not problem.affords(1):
                return
            _, gradient = problem.score_and_grad(start.moved(noise))
            gradient = whitened(gradient) if self.white else gradient
            noise.grad = _clipped(self.penalty * _norm_gradient(noise.detach()) - gradient, self.max_grad_norm)
            optimizer.step()

    def nfe(self, steps: int = 1, nfe_per_draw: int = 0, nfe_per_score: int = 0) -> int:
        """One noise, and one image an iteration."""
        return nfe_per_draw + self.iterations * (steps + nfe_per_score)

    def fit_to(self, budget: int, steps: int = 1, nfe_per_draw: int = 0, nfe_per_score: int = 0) -> Self:
        """The search with as many iterations as fit the budget; backward passes are not in it."""
        return replace(self, iterations=self._count(budget, nfe_per_draw, steps + nfe_per_score))


def whitened(gradient: Tensor) -> Tensor:
    """[B, *Z] the gradient with a flat spectrum over the last two dimensions of each channel, its norm kept."""
    spectrum = torch.fft.rfft2(gradient)
    flat = torch.fft.irfft2(spectrum / spectrum.abs().clamp(min=1e-30), s=gradient.shape[-2:])
    norms = [x.flatten(1).norm(dim=1).view(-1, *[1] * (x.dim() - 1)) for x in (gradient, flat)]
    return flat * norms[0] / norms[1].clamp(min=1e-12)


def _norm_gradient(noise: Tensor) -> Tensor:
    """The gradient of 1/2 |x|^2 - (d - 1) log |x| for each prompt: it pulls the norm to sqrt(d - 1)."""
    flat = noise.flatten(1)
    square = flat.square().sum(1, keepdim=True)
    return (flat * (1 - (flat.shape[1] - 1) / square)).view_as(noise)


def _clipped(gradient: Tensor, largest: float) -> Tensor:
    norm = gradient.flatten(1).norm(dim=1).clamp(min=1e-12)
    factor = (largest / norm).clamp(max=1.0)
    return gradient * factor.view(-1, *[1] * (gradient.dim() - 1))
