"""Log entries of optimiser steps: rewards, terms of the loss, noise statistics, learning rate and speed."""

from __future__ import annotations

import time
from typing import Any

import lightning as L
import torch
from torch import Tensor

from hypernoise_pl.noise import noise_statistics
from hypernoise_pl.objective import weighted_sum
from hypernoise_pl.types import Rollout


class LoggedModule(L.LightningModule):
    """Logs each optimiser step, with means over its micro-batches and processes.

    Attributes:
        newest_reward: weighted reward sums [B] of this process's newest training images; None before the first step.
    """

    bad_steps: int

    def __init__(self) -> None:
        super().__init__()
        self._last_step = self._paused = time.monotonic()
        self.newest_reward: Tensor | None = None
        self._figures: list[dict[str, Tensor]] = []

    def log_step(
        self, rollout: Rollout, terms: dict[str, Tensor], loss: Tensor, weights: dict[str, float], batch_idx: int
    ) -> None:
        """Log an optimiser step: raw and weighted rewards, loss terms, noise statistics, learning rate and speed.

        Each figure covers all micro-batches of the step in all processes.
        """
        trainer: Any = self.trainer
        interval, parts = trainer.log_every_n_steps, trainer.accumulate_grad_batches
        is_last = (batch_idx + 1) % parts == 0
        self.newest_reward = terms["reward"].detach()
        if interval and (self.global_step + 1) % interval == 0:  # Lightning's loggers write at these steps
            means = {"loss": loss} | {f"reward/{name}": score.mean() for name, score in rollout.scores.items()}
            means |= {name: term.mean() for name, term in terms.items()}
            means["residual"] = rollout.residual.square().mean()
            self._figures.append({name: value.detach().float() for name, value in means.items()})
            self._figures[-1]["refined"] = rollout.refined.detach()
            if is_last:
                self._log_figures(weights, len(rollout.prompts) * parts)
        if is_last:
            self._last_step, self._figures = time.monotonic(), []

    def _log_figures(self, weights: dict[str, float], images: int) -> None:
        rows = torch.cat([part.pop("refined") for part in self._figures])
        gathered: Any = self.all_gather(rows)
        refined = gathered.reshape(-1, *rows.shape[1:])
        names = list(self._figures[0])
        mean = torch.stack([torch.stack([part[name] for name in names]) for part in self._figures]).mean(0)
        means = dict(zip(names, self.trainer.strategy.reduce(mean, reduce_op="mean")))
        figures: dict[str, Any] = {f"noise/train/{name}": value for name, value in noise_statistics(refined).items()}
        figures["noise/train/residual"] = means.pop("residual").sqrt()
        figures |= {f"train/{name}": value for name, value in means.items() if name != "reward"}
        for name in weights:
            if f"reward/{name}" in means:
                figures[f"train/weighted/{name}"] = weighted_sum({name: means[f"reward/{name}"]}, weights)
        figures["train/learning_rate"] = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
        seconds = max(1e-9, time.monotonic() - self._last_step)
        figures["speed/images_per_second"] = images * self.trainer.world_size / seconds
        figures["train/bad_steps"] = float(self.bad_steps)
        self.log_dict(figures, batch_size=images)
        self.log("train/reward", means["reward"], prog_bar=True, batch_size=images)

    def on_validation_start(self) -> None:
        """Stop the clock of the current step."""
        self._paused = time.monotonic()

    def on_validation_end(self) -> None:
        """Restart the clock: the speed of a step excludes validation."""
        self._last_step += time.monotonic() - self._paused
