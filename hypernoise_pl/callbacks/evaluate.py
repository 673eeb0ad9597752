"""Measure what validation and test rollouts show: the judge, the rewards, win rate, diversity."""

from __future__ import annotations

from statistics import fmean
from typing import Any

import lightning as L

from hypernoise_pl.callbacks.gathering import from_all_processes
from hypernoise_pl.metrics.judge import Judge
from hypernoise_pl.report.tables import win_rate
from hypernoise_pl.report.tally import Tally
from hypernoise_pl.types import Rollout


class Evaluate(L.Callback):
    """Tallies the rollouts of base, hypernetwork and reference, and logs what they show; every mean is over tags.

    Args:
        judge: a rule or model held out from training; None where there is none.
    """

    def __init__(self, judge: Judge | None = None) -> None:
        self.judge = judge
        self.unjudged: set[str] = set()  # splits whose prompts the judge cannot judge
        self.tallies: dict[str, Tally] = {}

    def credit(self) -> str | None:
        """What the judge's figures are by; None without a judge."""
        return None if self.judge is None else self.judge.credit()

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin anew."""
        self.tallies = {}

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Enter a batch."""
        self._enter(outputs, pl_module.ensemble.weights, "validation")

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log what all processes have seen."""
        self._finish(pl_module, "validation")

    def on_test_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin anew."""
        self.tallies = {}

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Enter a batch."""
        self._enter(outputs, pl_module.ensemble.weights, "test")

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log what all processes have seen."""
        self._finish(pl_module, "test")

    def _enter(self, rollouts: dict[str, Rollout], weights: dict[str, float], split: str) -> None:
        judge = None if split in self.unjudged else self.judge
        for name, rollout in rollouts.items():
            correct = None if judge is None else judge(rollout.images, rollout.prompts)
            self.tallies.setdefault(name, Tally()).add(rollout, correct, weights)

    def _finish(self, module: L.LightningModule, split: str) -> None:
        self.tallies = _joined(from_all_processes(self.tallies))
        base, refined = self.tallies["base"], self.tallies["hypernetwork"]
        module.log(f"{split}/win_rate", win_rate(self.tallies).mean)
        for name, tally in self.tallies.items():
            prefix = f"{split}/{name}"
            for tag, share in tally.judge().items():
                module.log(f"{prefix}/judge/{tag}", share)
            for reward, scores in tally.scores.items():
                module.log(f"{prefix}/reward/{reward}", tally.mean(scores))
            module.log(f"{prefix}/reward/weighted", tally.mean(tally.reward))
            for reward, count in tally.missing().items():
                module.log(f"{prefix}/missing/{reward}", float(count))
            if tally.diversity:
                module.log(f"{prefix}/diversity", fmean(tally.diversity))
        if base.correct:
            module.log(f"{split}/gain", refined.judge()["mean"] - base.judge()["mean"], prog_bar=split == "validation")


def _joined(parts: list[dict[str, Tally]]) -> dict[str, Tally]:
    """The tallies of all processes."""
    joined = parts[0]
    for part in parts[1:]:
        for name, tally in part.items():
            joined[name] += tally
    return joined
