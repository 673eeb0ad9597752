"""The guard against steps that are not finite: they are skipped and counted, and the cause is named."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from hypernoise_pl.distributed.fsdp import gather
from hypernoise_pl.types import Prompt, Rollout


class NonFiniteError(RuntimeError):
    """Loss or gradient were not finite for too many steps in a row."""


class GuardedModule(L.LightningModule, ABC):
    """Skips an optimiser step whose loss or gradient is not finite, in all processes alike.

    Args:
        max_bad_steps: steps in a row with a loss or gradient that is not finite, each skipped and counted, after
            which the run stops.

    Attributes:
        bad_steps: steps that were skipped.
        bad_rewards: reward name -> skipped steps in which its score was not finite.
    """

    def __init__(self, max_bad_steps: int = 10) -> None:
        super().__init__()
        self.max_bad_steps = max_bad_steps
        self.bad_steps = self._bad_in_a_row = 0
        self.bad_rewards: Counter[str] = Counter()
        self._since_step: list[Rollout] = []

    def trainable(self) -> dict[str, nn.Parameter]:
        """Name -> weight of all that trains."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    @abstractmethod
    def finite_parts(self, prompts: Sequence[Prompt]) -> dict[str, bool]:
        """Name of each part of the loss -> whether it and its gradient are finite on these training prompts."""

    def guard_loss(self, loss: Tensor, rollout: Rollout) -> Tensor:
        """The loss; one that is not finite is given a gradient that is not finite either.

        Reduced over micro-steps and processes, the gradient then tells all processes alike to skip the step.
        """
        # the graph is not kept: a culprit is looked for by running the prompts again
        scores = {name: score.detach() for name, score in rollout.scores.items()}
        empty = rollout.noise.new_zeros(0)
        self._since_step.append(Rollout(rollout.prompts, empty, empty, empty, scores, rollout.nfe))
        return loss * torch.where(loss.detach().isfinite(), 1.0, torch.nan)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Skip a step whose gradient is not finite; it is whole and reduced over processes by now.

        Raises:
            NonFiniteError: after more than ``max_bad_steps`` in a row.
        """
        gradients = [p.grad for p in self.trainable().values() if p.grad is not None]
        norm = gather(torch.nn.utils.get_total_norm(gradients)) if gradients else torch.zeros(())
        self.log("train/gradient_norm", norm, batch_size=1)
        seen, self._since_step = self._since_step, []
        if torch.isfinite(norm):
            self._bad_in_a_row = 0
            return
        optimizer.zero_grad(set_to_none=True)  # an optimiser passes over weights without a gradient
        if self._scale_is_searched():
            return
        names = self._without_a_score(seen)
        self.bad_rewards.update(names)
        if not self.bad_steps:
            rank_zero_warn(
                f"step {self.global_step} is skipped: its loss or gradient is not finite{_by(names)}; the last lines "
                "of the run say how many are"
            )
        self.bad_steps, self._bad_in_a_row = self.bad_steps + 1, self._bad_in_a_row + 1
        if self._bad_in_a_row > self.max_bad_steps:
            raise NonFiniteError(
                f"{self._bad_in_a_row} steps in a row without a finite loss and gradient, the last at step "
                f"{self.global_step}; gone bad: {self._culprits([rollout.prompts for rollout in seen])}; lower the "
                "learning rate or its weight"
            )

    def skipped_steps(self) -> str:
        """How many optimiser steps were skipped, in words; empty if none."""
        if not self.bad_steps:
            return ""
        counts = [f"reward {name!r} {count}" for name, count in self.bad_rewards.most_common()]
        return f"{self.bad_steps} of {self.global_step} steps were skipped, whose loss or gradient was not finite" + (
            f" (scores that were not: {', '.join(counts)})" if counts else ""
        )

    def _without_a_score(self, seen: Sequence[Rollout]) -> list[str]:
        """Rewards with a score that is not finite, here or in any other process."""
        names = [name for name in (seen[0].scores if seen else {})]
        return self._anywhere(
            names, [all(bool(rollout.scores[name].isfinite().all()) for rollout in seen) for name in names]
        )

    def _anywhere(self, names: Sequence[str], fine: Sequence[bool]) -> list[str]:
        """The names that are not fine in this process or another one; all must ask together."""
        bad = torch.tensor([float(not well) for well in fine], device=self.device)
        bad = self.trainer.strategy.reduce(bad, reduce_op="sum")
        return [name for name, count in zip(names, bad.tolist()) if count]

    def _scale_is_searched(self) -> bool:
        """Whether float16's loss scaling has further to go down, so that an overflow is nobody's fault."""
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        return scaler is not None and scaler.get_scale() > 1

    def _culprits(self, batches: Sequence[Sequence[Prompt]]) -> str:
        """The parts of the loss that are not finite on this step's prompts, here or in any other process."""
        with self.trainer.precision_plugin.forward_context():
            looks = [self.finite_parts(prompts) for prompts in batches]
        names = list(looks[0])
        found = self._anywhere(names, [all(look[name] for look in looks) for name in names])
        return ", ".join(found) or "no single part, only their sum"


def _by(names: Sequence[str]) -> str:
    return f" (scores of {', '.join(repr(name) for name in names)})" if names else ""
