"""Measures validation and test rollouts: judge, rewards, win rate and diversity."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

import lightning as L

from hypernoise_pl.callbacks.gathering import from_all_processes
from hypernoise_pl.metrics.diversity import pairwise_distance
from hypernoise_pl.metrics.judge import Judge
from hypernoise_pl.report.rows import ImageRow, rollout_rows
from hypernoise_pl.report.summary import ImageStats, quality, summary, win_rate
from hypernoise_pl.types import Rollout


class Evaluate(L.Callback):
    """Collects a row per image of base, hypernetwork and reference search, and logs their means over tags.

    Args:
        judge: rule or model held out from training; None without one.

    Attributes:
        rows: method -> rows of the newest validation or test, of all processes once it has ended.
    """

    def __init__(self, judge: Judge | None = None) -> None:
        self.judge = judge
        self.unjudged: set[str] = set()  # splits whose prompts the judge cannot judge
        self.rows: dict[str, list[ImageRow]] = {}
        self._distances: dict[str, list[float]] = {}  # method -> mean distance between two images, per prompt

    def clear(self) -> None:
        """Drop all rows."""
        self.rows, self._distances = {}, {}

    def credit(self) -> str | None:
        """Judge and its models in a sentence; None without a judge."""
        return None if self.judge is None else self.judge.credit()

    def summary(self, fit: Mapping[str, Any] | None = None, description: str = "") -> dict[str, Any]:
        """The summary of the rows.

        Args:
            fit: ``seconds``, ``seconds_per_step`` and ``device`` of the training; None without one.
            description: run in a line.
        """
        judged_by = self.credit() if any(row.judge is not None for row in self.rows["base"]) else None
        stats = {name: ImageStats(diversity) for name, diversity in self.diversity().items()}
        return summary(self.rows, "base", stats, description, judged_by, fit)

    def diversity(self) -> dict[str, float | None]:
        """Method -> mean distance between two images of a prompt; None where no prompt has two."""
        return {name: fmean(own) if own else None for name, own in self._distances.items()}

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Drop the rows of the validation before."""
        self.clear()

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Add the rows of a batch."""
        self._add(outputs, pl_module, "validation")

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Gather the rows of all processes, and log their means."""
        self._finish(pl_module, "validation")

    def on_test_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Drop the rows of the last validation."""
        self.clear()

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Add the rows of a batch."""
        self._add(outputs, pl_module, "test")

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Gather the rows of all processes, and log their means."""
        self._finish(pl_module, "test")

    def _add(self, rollouts: dict[str, Rollout], module: Any, split: str) -> None:
        judge, device = None if split in self.unjudged else self.judge, str(module.device)
        for name, rollout in rollouts.items():
            verdicts = None if judge is None else judge(rollout.images, rollout.prompts)
            rows = rollout_rows(name, rollout, module.ensemble.weights, verdicts, module.steps, device)
            self.rows.setdefault(name, []).extend(rows)
            distances = pairwise_distance(rollout.images, [prompt.index for prompt in rollout.prompts])
            self._distances.setdefault(name, []).extend(distances)

    def _finish(self, module: L.LightningModule, split: str) -> None:
        parts = from_all_processes((self.rows, self._distances))
        self.rows = {name: [row for rows, _ in parts for row in rows[name]] for name in self.rows}
        self._distances = {name: [d for _, own in parts for d in own[name]] for name in self._distances}
        module.log(f"{split}/win_rate", win_rate(self.rows["hypernetwork"], self.rows["base"]).mean)
        figures = {name: quality(rows) for name, rows in self.rows.items()}
        for name, own in figures.items():
            prefix = f"{split}/{name}"
            for tag, share in own["judge"].items():
                module.log(f"{prefix}/judge/{tag}", share)
            for reward, mean in own["rewards"].items():
                module.log(f"{prefix}/reward/{reward}", mean)
            module.log(f"{prefix}/reward/weighted", own["weighted_reward"])
            for reward, count in own["unscored_images"].items():
                module.log(f"{prefix}/unscored/{reward}", float(count))
            if (diversity := self.diversity()[name]) is not None:
                module.log(f"{prefix}/diversity", diversity)
        if figures["base"]["judge"]:
            gain = figures["hypernetwork"]["judge"]["mean"] - figures["base"]["judge"]["mean"]
            module.log(f"{split}/gain", gain, prog_bar=split == "validation")
