"""What is minimised: the divergence of the refined noise from Gaussian noise, minus the reward."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

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


Residual = Callable[[Tensor], Tensor]


def measured_kl(
    residual: Residual, noise: Tensor, probes: int = 4, order: int = 12, seed: int = 0
) -> dict[str, Tensor]:
    """Estimate what the L2 term leaves out: KL = E[1/2 |f|^2 + tr J - log|det(I + J)|], J the Jacobian of f.

    The trace is Hutchinson's, with random signs, and unbiased. log|det(I + J)| = 1/2 tr log A, A = (I + J)^T (I + J),
    is Hutchinson's with each v^T log(A) v by ``order`` Lanczos steps (Gauss quadrature): exact from d steps on, and
    before that off by what falls as exp(-4 order / condition of (I + J)). Unlike the power series of log(1 + J), it
    does not ask for a Lipschitz constant below 1, which trained hypernetworks do not have. Both terms share their
    probes, so that much of the probes' noise cancels in ``kl``. From d probes on, everything is exact instead.

    Args:
        residual: f, from [B, *Z] to [B, *Z], each image on its own.
        noise: [B, *Z].
        probes: random directions an image; d or more for the exact figures, by d products with J.
        order: Lanczos steps a probe, each one product with J and one with its transpose.
        seed: of the directions.

    Returns:
        ``half_square``, ``trace``, ``log_det`` and ``kl``, each [B], in nats.

    Source: Ubaru, Chen and Saad 2017, Fast estimation of tr(f(A)) via stochastic Lanczos quadrature.
    """
    jacobian = _Jacobian(residual, noise)
    half_square = 0.5 * jacobian.value.flatten(1).square().sum(1)
    exact = probes >= noise[0].numel()
    trace, log_det = _exact_terms(jacobian, noise) if exact else _probed_terms(jacobian, noise, probes, order, seed)
    return {"half_square": half_square, "trace": trace, "log_det": log_det, "kl": half_square + trace - log_det}


def lipschitz(residual: Residual, noise: Tensor, iterations: int = 8, seed: int = 0) -> Tensor:
    """[B] the norm of f's Jacobian at each noise, by power iteration on J^T J; from below, never above the true norm.

    Args:
        residual: f, from [B, *Z] to [B, *Z], each image on its own.
        noise: [B, *Z].
        iterations: each one product with J and one with its transpose.
        seed: of the first direction.
    """
    jacobian = _Jacobian(residual, noise)
    vector = _unit(torch.randn(noise.shape, generator=torch.Generator().manual_seed(seed)).to(noise))
    for _ in range(iterations):
        image = _unit(jacobian.times(vector))
        vector = jacobian.transposed_times(image)
        found = vector.flatten(1).norm(dim=1)
        vector = _unit(vector)
    return found


class _Jacobian:
    """Products with the Jacobian of f at some noise, each image's with its own vector [B, *Z]."""

    def __init__(self, residual: Residual, noise: Tensor) -> None:
        self._residual = residual
        with torch.inference_mode(False), torch.enable_grad():
            self._x = noise.detach().clone().requires_grad_()
            self._fx = residual(self._x)
        self.value = self._fx.detach()

    def times(self, vector: Tensor) -> Tensor:
        # only the plain attention kernel has a forward derivative
        with torch.inference_mode(False), torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            return torch.func.jvp(self._residual, (self._x.detach(),), (vector.clone(),))[1]

    def transposed_times(self, vector: Tensor) -> Tensor:
        with torch.inference_mode(False):
            return torch.autograd.grad(self._fx, self._x, vector.clone(), retain_graph=True)[0]


def _exact_terms(jacobian: _Jacobian, noise: Tensor) -> tuple[Tensor, Tensor]:
    """[B] tr J and log|det(I + J)|, J written out column by column."""
    d = noise[0].numel()
    units = torch.eye(d).view(d, *noise.shape[1:]).to(noise)
    matrix = torch.stack([jacobian.times(unit.expand_as(noise)).flatten(1) for unit in units], 2)  # [B, d, d]
    log_det = torch.linalg.slogdet(torch.eye(d).to(matrix) + matrix).logabsdet
    return matrix.diagonal(dim1=1, dim2=2).sum(1), log_det


def _probed_terms(jacobian: _Jacobian, noise: Tensor, probes: int, order: int, seed: int) -> tuple[Tensor, Tensor]:
    """[B] the same, estimated."""
    draws, d = torch.Generator().manual_seed(seed), noise[0].numel()
    trace, log_det = noise.new_zeros(len(noise)), noise.new_zeros(len(noise))
    for _ in range(probes):
        probe = (torch.randint(0, 2, noise.shape, generator=draws) * 2 - 1).to(noise)
        trace += _dot(probe, jacobian.times(probe)) / probes
        log_det += 0.5 * d * _log_form(jacobian, probe / d**0.5, min(order, d)) / probes
    return trace, log_det


def _log_form(jacobian: _Jacobian, unit: Tensor, order: int) -> Tensor:
    """[B] u^T log(A) u for unit vectors u [B, *Z] and A = (I + J)^T (I + J), by Lanczos' method."""
    basis, diagonal, beside = [unit], [], []
    for step in range(order):
        vector = basis[-1] + jacobian.times(basis[-1])
        vector = vector + jacobian.transposed_times(vector)
        diagonal.append(_dot(basis[-1], vector))
        for older in basis * 2:  # twice, against rounding
            vector = vector - _scale(older, _dot(older, vector))
        if step < order - 1:
            beside.append(vector.flatten(1).norm(dim=1))
            basis.append(_unit(vector))
    matrix = torch.diag_embed(torch.stack(diagonal, 1).double())
    if beside:
        off = torch.diag_embed(torch.stack(beside, 1).double(), 1)
        matrix = matrix + off + off.mT
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors[:, 0].square() * values.clamp(min=1e-30).log()).sum(1).to(unit)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).flatten(1).sum(1)


def _scale(vector: Tensor, factor: Tensor) -> Tensor:
    return vector * factor.view(-1, *[1] * (vector.dim() - 1))


def _unit(vector: Tensor) -> Tensor:
    return _scale(vector, 1 / vector.flatten(1).norm(dim=1).clamp(min=1e-30))
