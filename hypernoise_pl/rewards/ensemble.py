"""Several rewards as one: the weighted sum, which training maximises, and the mean of ranks, which a search may use."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from hypernoise_pl.objective import weighted_sum
from hypernoise_pl.rewards.base import Reward, Verifier
from hypernoise_pl.rewards.preprocess import shared_preprocessing
from hypernoise_pl.types import did_you_mean


class RewardError(RuntimeError):
    """A reward fails, or gives no gradient to train on."""


class WeightedSum(Reward):
    """Sum of weight * score over frozen rewards, each on its native scale.

    Args:
        rewards: name -> reward. A verifier without a gradient may be a member with weight 0: it is logged, not trained
            on.
        weights: name -> weight; a weight of 0 leaves a reward out of the sum, whatever its score, NaN too.

    Attributes:
        members: name -> reward, frozen and in eval mode.

    Raises:
        ValueError: if a name is invalid, a reward has no weight, a weight has no reward, or a reward cannot score.
    """

    def __init__(self, rewards: Mapping[str, Verifier], weights: Mapping[str, float]) -> None:
        super().__init__()
        check_names(rewards, weights)
        for name, reward in rewards.items():
            if (missing := reward.missing()) is not None:
                raise ValueError(f"reward {name!r} cannot score; missing is {missing}")
        self.members = nn.ModuleDict(rewards).eval().requires_grad_(False)
        self.weights = dict(weights)

    @property
    def counted(self) -> list[str]:
        """Names of the members whose weight is not 0."""
        return [name for name in self.members if self.weights[name]]

    def scores(self, images: Tensor, prompts: Sequence[str], names: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Score images by members, raw and unweighted.

        Args:
            images: [B, 3, H, W] in [0, 1].
            prompts: B texts.
            names: members to ask; all if left out.

        Returns:
            Name -> [B].

        Raises:
            RewardError: naming a reward that fails; its ``ValueError`` stays a ``ValueError``.
        """
        with shared_preprocessing():
            return {name: self._member(name, images, prompts) for name in (self.members if names is None else names)}

    def names_to_score(self, images: Tensor) -> list[str]:
        """Names of the members that score these images: in a training step, those with a gradient or a weight.

        A verifier without a gradient may be slow, and its weight is 0: it waits for validation.
        """
        return [
            name
            for name, reward in self.members.items()
            if isinstance(reward, Reward) or self.weights[name] or not images.requires_grad
        ]

    def combine(self, scores: Mapping[str, Tensor]) -> Tensor:
        """[B] the weighted sum of scores."""
        return weighted_sum(scores, self.weights)

    def check_gradients(self, scores: Mapping[str, Tensor], images: Tensor) -> None:
        """Check that every counted member has a gradient at the images that it scored.

        Raises:
            RewardError: naming a member whose scores do not depend on the images by differentiable operations.
        """
        for name in self.counted:
            score, gradient = scores[name].sum(), None
            if score.requires_grad:
                (gradient,) = torch.autograd.grad(score, images, retain_graph=True, allow_unused=True)
            if gradient is None:
                raise self._without_gradient(name)
            if not gradient.any():
                rank_zero_warn(f"reward {name!r}: on the whole first batch its gradient at the images is 0")

    def _score(self, images: Tensor, prompts: list[str]) -> Tensor:
        scores = self.scores(images, prompts, self.counted or None)
        for name in self.counted:
            if images.requires_grad and not scores[name].requires_grad:
                raise self._without_gradient(name)
        return self.combine(scores)

    def _member(self, name: str, images: Tensor, prompts: Sequence[str]) -> Tensor:
        reward = self.members[name]
        try:
            score: Tensor = reward(images, prompts)
        except ValueError as error:
            raise ValueError(f"reward {name!r}: {error}") from error
        except Exception as error:
            cause = f"{type(error).__name__}: {error}"
            raise RewardError(f"reward {name!r} ({type(reward).__name__}) fails: {cause}") from error
        return score

    def _without_gradient(self, name: str) -> RewardError:
        return RewardError(
            f"reward {name!r} ({type(self.members[name]).__name__}) gives no gradient: its scores are computed from "
            "detached images, in NumPy or under no_grad, and nothing would train on it; set "
            f"model.reward_weights.{name} to 0 to only log it"
        )


class RankMean(nn.Module):
    """Scores whose ranks among a prompt's candidates are averaged (Ma et al. 2025, section 3.2: verifier ensemble).

    Members are the counted rewards of a weighted sum; where a weight is below 0, the lowest score ranks first.

    Args:
        ensemble: weighted sum of the rewards.

    Raises:
        ValueError: if every weight is 0.
    """

    def __init__(self, ensemble: WeightedSum) -> None:
        super().__init__()
        if not ensemble.counted:
            raise ValueError("every reward has weight 0; a mean of ranks needs one with a weight")
        self.ensemble = ensemble
        self.signs = {name: math.copysign(1.0, ensemble.weights[name]) for name in ensemble.counted}

    def forward(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """[M, K] a column a member, higher is better; the search's problem ranks each among a prompt's candidates."""
        scores = self.ensemble.scores(images, prompts, self.signs)
        return torch.stack([sign * scores[name] for name, sign in self.signs.items()], 1)


def check_names(rewards: Mapping[str, Any], weights: Mapping[str, float]) -> None:
    """Check the names of rewards and weights; the rewards may not be loaded yet.

    Raises:
        ValueError: for a name that PyTorch's containers cannot hold, a weight without a reward or a reward without a
            weight.
    """
    if not rewards:
        raise ValueError("rewards: at least one is needed")
    for name in rewards:
        if not name or "." in name or hasattr(nn.ModuleDict(), name):
            raise ValueError(f"rewards: {name!r} cannot name a reward; use another name, without a dot")
    for name in weights:
        if name not in rewards:
            raise ValueError(f"reward_weights: no reward is called {name!r}{did_you_mean(name, rewards)}")
    for name in rewards:
        if name not in weights:
            raise ValueError(f"reward_weights: reward {name!r} has no weight; give it one (0: only log it)")
