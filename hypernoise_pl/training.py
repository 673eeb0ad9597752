"""What all modules that train a LoRA on a frozen model share: optimiser, guard, logging, adapter-only checkpoints."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from hypernoise_pl.noise import noise_statistics
from hypernoise_pl.objective import weighted_sum
from hypernoise_pl.parallelize import whole
from hypernoise_pl.types import Prompt, Rollout


class WarmupCosine(LambdaLR):
    """A linear warm-up, then a cosine down to a floor.

    Args:
        optimizer: given by the module.
        warmup_steps: optimiser steps from 0 to the full rate.
        total_steps: optimiser steps in all; beyond them the rate stays at the floor.
        floor: share of the full rate that is left at the end, in [0, 1].

    Raises:
        ValueError: if there are no steps in all.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, warmup_steps: int = 0, total_steps: int = 1000, floor: float = 0.1
    ) -> None:
        if total_steps < 1:
            raise ValueError(f"WarmupCosine: total_steps must be at least 1, got {total_steps}; set trainer.max_steps")

        def rate(step: int) -> float:
            if step < warmup_steps:
                return (step + 1) / (warmup_steps + 1)
            done = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
            return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))

        super().__init__(optimizer, rate)


class NonFiniteError(RuntimeError):
    """Loss or gradient were not finite for too many steps in a row."""


class AdapterModule(L.LightningModule, ABC):
    """Trains a LoRA; everything else is frozen, in eval mode, and never in a checkpoint.

    Args:
        optimizer: class and arguments of the optimiser; it is given the LoRA weights alone.
        lr_scheduler: class and arguments of a schedule, stepped with the optimiser; None for a constant rate.
        max_bad_steps: steps in a row with a loss or gradient that is not finite, each skipped and counted, after
            which the run stops.
    """

    def __init__(
        self,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        lr_scheduler: LRSchedulerCallable | None = None,
        max_bad_steps: int = 10,
    ) -> None:
        super().__init__()
        self.strict_loading = False  # frozen weights are not in checkpoints
        self._make_optimizer, self._make_schedule = optimizer, lr_scheduler
        self.max_bad_steps = max_bad_steps
        self.bad_steps = self._bad_in_a_row = 0
        self._last_step = time.monotonic()
        self._since_step: list[Sequence[Prompt]] = []

    def trainable(self) -> dict[str, nn.Parameter]:
        """Name -> weight of all that trains."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    @abstractmethod
    def finite_parts(self, prompts: Sequence[Prompt]) -> dict[str, bool]:
        """Name of each part of the loss -> whether it and its gradient are finite on these training prompts."""

    def train(self, mode: bool = True) -> AdapterModule:
        """Stay in eval mode: frozen networks must not drop out, and the LoRA has nothing that differs."""
        return super().train(False)

    def configure_optimizers(self) -> Any:
        """The configured optimiser on the LoRA weights, its schedule stepped with it.

        Raises:
            ValueError: if the precision is one that makes the LoRA weights themselves half precision.
        """
        if any(p.dtype in (torch.bfloat16, torch.float16) for p in self.trainable().values()):
            raise ValueError(
                f"trainer.precision {self.trainer.precision} rounds the trained weights, and small updates with them, "
                "away; use bf16-mixed or 16-mixed, and the generator's own dtype for the frozen weights"
            )
        optimizer = self._make_optimizer(self.trainable().values())
        if self._make_schedule is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self._make_schedule(optimizer), "interval": "step"},
        }

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Prompts are text; nothing to move."""
        return batch

    def guarded(self, loss: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        """The loss; one that is not finite is given a gradient that is not finite either.

        Reduced over micro-steps and processes, the gradient then tells all processes alike to skip the step.
        """
        self._since_step.append(prompts)
        return loss * torch.where(loss.detach().isfinite(), 1.0, torch.nan)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Skip a step whose gradient is not finite; it is whole and reduced over processes by now.

        Raises:
            NonFiniteError: after more than ``max_bad_steps`` in a row.
        """
        gradients = [p.grad for p in self.trainable().values() if p.grad is not None]
        norm = whole(torch.nn.utils.get_total_norm(gradients)) if gradients else torch.zeros(())
        self.log("train/gradient_norm", norm, batch_size=1)
        prompts, self._since_step = self._since_step, []
        if torch.isfinite(norm):
            self._bad_in_a_row = 0
            return
        optimizer.zero_grad(set_to_none=True)  # an optimiser passes over weights without a gradient
        if self._scale_is_searched():
            return
        self.bad_steps, self._bad_in_a_row = self.bad_steps + 1, self._bad_in_a_row + 1
        if self._bad_in_a_row > self.max_bad_steps:
            raise NonFiniteError(
                f"{self._bad_in_a_row} steps in a row without a finite loss and gradient, the last at step "
                f"{self.global_step}; gone bad: {self._culprits(prompts)}; lower the learning rate or its weight"
            )

    def _scale_is_searched(self) -> bool:
        """Whether float16's loss scaling has further to go down, so that an overflow is nobody's fault."""
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        return scaler is not None and scaler.get_scale() > 1

    def _culprits(self, batches: Sequence[Sequence[Prompt]]) -> str:
        """The parts of the loss that are not finite on this step's prompts, here or in any other process."""
        with self.trainer.precision_plugin.forward_context():
            looks = [self.finite_parts(prompts) for prompts in batches]
        names = list(looks[0])
        bad = torch.tensor([float(not all(look[name] for look in looks)) for name in names], device=self.device)
        bad = self.trainer.strategy.reduce(bad, reduce_op="sum")
        found = [name for name, count in zip(names, bad.tolist()) if count]
        return ", ".join(found) or "no single part, only their sum"

    def log_step(self, rollout: Rollout, terms: dict[str, Tensor], loss: Tensor, weights: dict[str, float]) -> None:
        """Log one training step: rewards raw and weighted, the loss's terms, the noise's health, rate and speed."""
        trainer: Any = self.trainer
        every = trainer.log_every_n_steps
        if not every or (self.global_step + 1) % every:  # when Lightning's loggers write: what is older is stale
            self._last_step = time.monotonic()
            return
        figures: dict[str, Any] = {"train/loss": loss}
        for name, score in rollout.scores.items():
            figures[f"train/reward/{name}"] = score.mean()
            figures[f"train/weighted/{name}"] = weighted_sum({name: score}, weights).mean()
        figures |= {f"train/{name}": term.mean() for name, term in terms.items()}
        figures["train/noise/residual"] = rollout.residual.detach().square().mean().sqrt()
        figures |= {f"train/noise/{name}": value for name, value in noise_statistics(rollout.refined).items()}
        figures["train/learning_rate"] = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
        images = len(rollout.prompts) * trainer.world_size
        figures["train/images_per_second"] = images / max(1e-9, time.monotonic() - self._last_step)
        figures["train/bad_steps"] = float(self.bad_steps)
        self._last_step = time.monotonic()
        shown = {"train/reward"}
        self.log_dict({k: v for k, v in figures.items() if k not in shown}, batch_size=len(rollout.prompts))
        self.log("train/reward", figures["train/reward"], prog_bar=True, batch_size=len(rollout.prompts))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what trains; the frozen models are where they came from."""
        names = self.trainable()
        checkpoint["bad_steps"] = [self.bad_steps, self._bad_in_a_row]
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in names}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another adapter.

        Raises:
            ValueError: if its weights are not those that train here.
        """
        saved, own = checkpoint["state_dict"], self.trainable()
        if {k: v.shape for k, v in saved.items()} != {k: v.shape for k, v in own.items()}:
            raise ValueError(
                f"the checkpoint's adapter does not fit: it has {len(saved)} tensors, this run trains {len(own)}; "
                "were rank, targets or generator changed?"
            )
        self.bad_steps, self._bad_in_a_row = checkpoint["bad_steps"]
