"""The guard against non-finite training steps: it skips and counts them, and names the cause."""

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
    """Loss or gradient were not finite for too many consecutive steps."""


class GuardedModule(L.LightningModule, ABC):
    """Skips an optimiser step whose loss or gradient is not finite, in all processes.

    Args:
        max_bad_steps: largest number of consecutive steps with a non-finite loss or gradient; such steps are skipped
            and counted, and one more stops the run.

    Attributes:
        bad_steps: number of skipped steps.
        bad_rewards: reward name -> number of skipped steps with a non-finite score.
    """

    def __init__(self, max_bad_steps: int = 10) -> None:
        super().__init__()
        self.max_bad_steps = max_bad_steps
        self.bad_steps = self._bad_in_a_row = 0
        self.bad_rewards: Counter[str] = Counter()
        self._rollouts: list[Rollout] = []

    def trainable(self) -> dict[str, nn.Parameter]:
        """The trained weights, name -> parameter."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    @abstractmethod
    def finite_parts(self, prompts: Sequence[Prompt]) -> dict[str, bool]:
        """Map each part of the loss to whether it and its gradient are finite on these training prompts."""

    def guard_loss(self, loss: Tensor, rollout: Rollout) -> Tensor:
        """Return the loss; if it is not finite, its gradient becomes non-finite too.

        The gradient is accumulated over micro-steps and reduced over processes; all processes then skip the same step.
        """
        # the graph is not kept; ``_culprits`` runs the prompts again
        scores = {name: score.detach() for name, score in rollout.scores.items()}
        empty = rollout.noise.new_zeros(0)
        self._rollouts.append(Rollout(rollout.prompts, empty, empty, empty, scores, rollout.nfe))
        return loss * torch.where(loss.detach().isfinite(), 1.0, torch.nan)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Skip a step whose gradient, accumulated and reduced over processes, is not finite.

        Raises:
            NonFiniteError: after more than ``max_bad_steps`` consecutive bad steps.
        """
        gradients = [p.grad for p in self.trainable().values() if p.grad is not None]
        norm = gather(torch.nn.utils.get_total_norm(gradients)) if gradients else torch.zeros(())
        self.log("train/gradient_norm", norm, batch_size=1)
        rollouts, self._rollouts = self._rollouts, []
        if torch.isfinite(norm):
            self._bad_in_a_row = 0
            return
        optimizer.zero_grad(set_to_none=True)  # optimisers ignore weights without a gradient
        if self._loss_scale_may_fall():
            return
        names = self._non_finite_scores(rollouts)
        self.bad_rewards.update(names)
        if not self.bad_steps:
            rank_zero_warn(
                f"step {self.global_step} is skipped: its loss or gradient is not finite{_by(names)}; the run "
                "prints the number of skipped steps at its end"
            )
        self.bad_steps, self._bad_in_a_row = self.bad_steps + 1, self._bad_in_a_row + 1
        if self._bad_in_a_row > self.max_bad_steps:
            raise NonFiniteError(
                f"loss or gradient not finite in {self._bad_in_a_row} consecutive steps, the last at step "
                f"{self.global_step}; cause: {self._culprits([rollout.prompts for rollout in rollouts])}; lower the "
                "learning rate or the weight of the cause"
            )

    def skipped_steps(self) -> str:
        """A sentence with the number of skipped optimiser steps; empty if there are none."""
        if not self.bad_steps:
            return ""
        counts = [f"reward {name!r} {count}" for name, count in self.bad_rewards.most_common()]
        return f"{self.bad_steps} of {self.global_step} steps were skipped: loss or gradient not finite" + (
            f" (non-finite scores: {', '.join(counts)})" if counts else ""
        )

    def _non_finite_scores(self, rollouts: Sequence[Rollout]) -> list[str]:
        """The rewards with a non-finite score in any process."""
        names = [name for name in (rollouts[0].scores if rollouts else {})]
        return self._bad_in_any_process(
            names, [all(bool(rollout.scores[name].isfinite().all()) for rollout in rollouts) for name in names]
        )

    def _bad_in_any_process(self, names: Sequence[str], finite: Sequence[bool]) -> list[str]:
        """The names that are not finite in at least one process; every process must call this."""
        bad = torch.tensor([float(not ok) for ok in finite], device=self.device)
        bad = self.trainer.strategy.reduce(bad, reduce_op="sum")
        return [name for name, count in zip(names, bad.tolist()) if count]

    def _loss_scale_may_fall(self) -> bool:
        """True while GradScaler may still lower the loss scale: an overflow is then expected."""
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        return scaler is not None and scaler.get_scale() > 1

    def _culprits(self, batches: Sequence[Sequence[Prompt]]) -> str:
        """The parts of the loss that are not finite on this step's prompts in any process."""
        with self.trainer.precision_plugin.forward_context():
            finite = [self.finite_parts(prompts) for prompts in batches]
        names = list(finite[0])
        culprits = self._bad_in_any_process(names, [all(parts[name] for parts in finite) for name in names])
        return ", ".join(culprits) or "only the sum of the parts"


def _by(names: Sequence[str]) -> str:
    return f" (scores of {', '.join(repr(name) for name in names)})" if names else ""
