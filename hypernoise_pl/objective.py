"""The objective: a penalty on the residual minus the reward (Eyring et al. 2025, Algorithm 1)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hypernoise_pl.types import Rollout


class Penalty(ABC):
    """Cost of moving the noise."""

    @abstractmethod
    def __call__(self, rollout: Rollout) -> Tensor:
        """[B] the penalty of each image's residual."""


@dataclass(frozen=True)
class L2Sum(Penalty):
    """1/2 |f|^2, summed over d elements: the KL divergence from N(0, I) without its trace and log-determinant terms.

    Source: Eyring et al. 2025, Algorithm 1.
    """

    def __call__(self, rollout: Rollout) -> Tensor:
        """[B] penalty."""
        return 0.5 * rollout.residual.flatten(1).square().sum(1)


@dataclass(frozen=True)
class L2Mean(Penalty):
    """1/2 mean(f^2) over the d elements, as in the reference code: ``L2Sum`` with the reward multiplied by d."""

    def __call__(self, rollout: Rollout) -> Tensor:
        """[B] penalty."""
        return 0.5 * rollout.residual.flatten(1).square().mean(1)


@dataclass(frozen=True)
class NormPenalty(Penalty):
    """1/2 |x|^2 - (d - 1) log |x| of the refined noise x, minus its minimum: the negative log density of its norm.

    Source: Eyring et al. 2024 (ReNO), section 3.
    """

    def __call__(self, rollout: Rollout) -> Tensor:
        """[B] penalty."""
        flat = rollout.refined.flatten(1).float()
        free = flat.shape[1] - 1
        square = flat.square().sum(1)
        return 0.5 * (square - free) - 0.5 * free * (square / free).log()


@dataclass(frozen=True)
class NoPenalty(Penalty):
    """No penalty: the reward alone, for ablations."""

    def __call__(self, rollout: Rollout) -> Tensor:
        """[B] zeros that keep the graph."""
        return 0.0 * rollout.residual.flatten(1).sum(1)


@dataclass(frozen=True)
class Objective:
    """penalty_weight * penalty - reward_scale * reward, the mean over the batch.

    With ``L2Sum`` and weight 1 this is the paper's loss at temperature 1 / reward_scale; with ``L2Mean`` the same at
    temperature 1 / (d * reward_scale), the reference code's.

    Args:
        penalty: cost of moving the noise.
        penalty_weight: weight of the penalty.
        reward_scale: inverse temperature: penalty that one unit of weighted reward outweighs.
    """

    penalty: Penalty = field(default_factory=L2Sum)
    penalty_weight: float = 1.0
    reward_scale: float = 1.0

    def __call__(self, rollout: Rollout, reward: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and its terms.

        Args:
            rollout: one pass of the method.
            reward: [B] weighted sum of its scores.

        Returns:
            A scalar, and ``penalty``, ``reward`` (weighted sum) and ``total``, each [B].
        """
        penalty = self.penalty(rollout)
        total = self.penalty_weight * penalty - self.reward_scale * reward
        return total.mean(), {"penalty": penalty, "reward": reward, "total": total}

    def record(self) -> dict[str, Any]:
        """Class and numbers of the objective, for an adapter's description."""
        numbers = {"penalty_weight": self.penalty_weight, "reward_scale": self.reward_scale}
        return {"class": type(self.penalty).__name__, **numbers}


def weighted_sum(scores: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """[B] sum of weight * score; a weight of 0 leaves a reward out, whatever its score."""
    counted = [weights[name] * score for name, score in scores.items() if weights[name] != 0]
    return torch.stack(counted).sum(0) if counted else torch.zeros_like(next(iter(scores.values())))
