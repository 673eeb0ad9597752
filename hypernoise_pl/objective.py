"""What is minimised: the divergence of the refined noise from Gaussian noise, minus the reward."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hypernoise_pl.types import Rollout


class Penalty(ABC):
    """What it costs to move the noise."""

    @abstractmethod
    def __call__(self, rollout: Rollout) -> Tensor:
        """[B] the penalty of each image's residual."""


@dataclass(frozen=True)
class L2Sum(Penalty):
    """1/2 |f|^2, summed over the d elements: the KL divergence from N(0, I), up to the two terms that nearly cancel.

    Source: Eyring et al. 2025, Algorithm 1.
    """

    def __call__(self, rollout: Rollout) -> Tensor:
        """[B]."""
        return 0.5 * rollout.residual.flatten(1).square().sum(1)


@dataclass(frozen=True)
class L2Mean(Penalty):
    """1/2 mean(f^2) over the d elements, as the reference code has it: ``L2Sum`` with the reward multiplied by d."""

    def __call__(self, rollout: Rollout) -> Tensor:
        """[B]."""
        return 0.5 * rollout.residual.flatten(1).square().mean(1)


@dataclass(frozen=True)
class NormPenalty(Penalty):
    """1/2 |x|^2 - (d - 1) log |x| of the refined noise, less its minimum: only its norm has to be that of noise.

    Source: Eyring et al. 2024 (ReNO), section 3.
    """

    def __call__(self, rollout: Rollout) -> Tensor:
        """[B]."""
        flat = rollout.refined.flatten(1).float()
        free = flat.shape[1] - 1
        square = flat.square().sum(1)
        return 0.5 * (square - free) - 0.5 * free * (square / free).log()


@dataclass(frozen=True)
class NoPenalty(Penalty):
    """Nothing: reward alone, for ablations."""

    def __call__(self, rollout: Rollout) -> Tensor:
        """[B] zeros that keep the graph."""
        return 0.0 * rollout.residual.flatten(1).sum(1)


@dataclass(frozen=True)
class Objective:
    """penalty_weight * penalty - reward_scale * reward, the mean over the batch.

    With ``L2Sum`` and weight 1 this is the paper's loss at temperature 1 / reward_scale; with ``L2Mean`` the same at
    temperature 1 / (d * reward_scale), the reference code's.

    Args:
        penalty: what moving the noise costs.
        penalty_weight: of the penalty.
        reward_scale: inverse temperature; how much penalty a unit of weighted reward is worth.
    """

    penalty: Penalty = field(default_factory=L2Sum)
    penalty_weight: float = 1.0
    reward_scale: float = 1.0

    def __call__(self, rollout: Rollout, weights: dict[str, float]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and the terms it is made of.

        Returns:
            A scalar, and ``penalty``, ``reward`` (weighted sum) and ``total``, each [B].
        """
        penalty = self.penalty(rollout)
        reward = weighted_sum(rollout.scores, weights)
        total = self.penalty_weight * penalty - self.reward_scale * reward
        return total.mean(), {"penalty": penalty, "reward": reward, "total": total}

    def record(self) -> dict[str, Any]:
        """Its class and numbers, for an adapter's description."""
        numbers = {"penalty_weight": self.penalty_weight, "reward_scale": self.reward_scale}
        return {"class": type(self.penalty).__name__, **numbers}


def weighted_sum(scores: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """[B] the ensemble's reward: sum of weight * score; a weight of 0 leaves a reward out, whatever its score."""
    counted = [weights[name] * score for name, score in scores.items() if weights[name] != 0]
    return torch.stack(counted).sum(0) if counted else torch.zeros_like(next(iter(scores.values())))


def measured_kl(
    residual: Callable[[Tensor], Tensor], noise: Tensor, probes: int = 4, order: int = 8, seed: int = 0
) -> dict[str, Tensor]:
    """Estimate what the L2 term leaves out: KL = E[1/2 |f|^2 + tr J - log|det(I + J)|], J the Jacobian of f.

    Hutchinson's estimator with random signs, on the power series log|det(I + J)| = sum_k (-1)^(k+1) tr(J^k) / k. The
    traces are unbiased. The series converges where no eigenvalue of J is beyond 1 in size; cut after ``order`` terms,
    it is off by at most d L^(order + 1) / ((order + 1)(1 - L)) for a Lipschitz constant L < 1. Where ``lipschitz``
    comes to 1, ``log_det`` and ``kl`` mean nothing.

    Args:
        residual: f, from [B, *Z] to [B, *Z], each image on its own.
        noise: [B, *Z].
        probes: random directions an image.
        order: terms of the series, each one backward pass a probe.
        seed: of the directions.

    Returns:
        ``half_square``, ``trace``, ``log_det``, ``kl`` and ``lipschitz`` (see there), each [B].
    """
    draws = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False), torch.enable_grad():
        x, fx = _graph(residual, noise)
        half_square = 0.5 * fx.detach().flatten(1).square().sum(1)
        trace, log_det = torch.zeros_like(half_square), torch.zeros_like(half_square)
        for _ in range(probes):
            vector = probe = (torch.randint(0, 2, x.shape, generator=draws) * 2 - 1).to(x)
            for k in range(1, order + 1):
                vector = _backward(fx, x, vector)  # (J^T)^k probe, whose trace is that of J^k
                term = (probe * vector).flatten(1).sum(1) / probes
                trace = trace + term if k == 1 else trace
                log_det = log_det + (-1) ** (k + 1) * term / k
    kl = half_square + trace - log_det
    bound = lipschitz(residual, noise, seed=seed)
    return {"half_square": half_square, "trace": trace, "log_det": log_det, "kl": kl, "lipschitz": bound}


def lipschitz(
    residual: Callable[[Tensor], Tensor], noise: Tensor, iterations: int = 8, seed: int = 0, step: float = 0.01
) -> Tensor:
    """[B] the norm of f's Jacobian at each noise, from below, by power iteration on J^T J.

    J u is a central difference, which only steers; what is returned is |J^T u| of a unit vector u, by backward, and
    so never above the true norm.

    Args:
        residual: f, from [B, *Z] to [B, *Z], each image on its own.
        noise: [B, *Z].
        iterations: each two forward passes and one backward.
        seed: of the first direction.
        step: of the difference, per element of the noise.
    """
    with torch.inference_mode(False), torch.enable_grad():
        x, fx = _graph(residual, noise)
        vector = _unit(torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).to(x))
        found = x.new_zeros(len(x))
        for _ in range(iterations):
            with torch.no_grad():
                move = step * x[0].numel() ** 0.5 * vector
                ahead = _unit(residual(x + move) - residual(x - move))
            vector = _backward(fx, x, ahead)
            found = torch.maximum(found, vector.flatten(1).norm(dim=1))
            vector = _unit(vector)
    return found


def _graph(residual: Callable[[Tensor], Tensor], noise: Tensor) -> tuple[Tensor, Tensor]:
    x = noise.detach().clone().requires_grad_()
    return x, residual(x)


def _backward(fx: Tensor, x: Tensor, vector: Tensor) -> Tensor:
    return torch.autograd.grad(fx, x, vector, retain_graph=True)[0]


def _unit(vector: Tensor) -> Tensor:
    norm = vector.flatten(1).norm(dim=1).clamp(min=1e-30)
    return vector / norm.view(-1, *[1] * (vector.dim() - 1))
