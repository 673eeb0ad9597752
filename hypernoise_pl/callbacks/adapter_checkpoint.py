"""Adapter folders written while training: the last one, and the best by a logged figure."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import lightning as L
from lightning.pytorch.utilities import rank_zero_warn

from hypernoise_pl.adapter import save_adapter
from hypernoise_pl.types import nearest


class AdapterCheckpoint(L.Callback):
    """Saves ``adapter`` when training ends and, if a figure is named, ``adapter-best`` whenever it is better.

    Choose by a figure of the validation prompts; one of the test prompts would leak them into the choice. A figure that
    is NaN or infinite is never the best, and is warned of.

    Args:
        monitor: a figure that validation logs, like ``validation/hypernetwork/reward/weighted``; None for no best.
        mode: whether the largest (``max``) or smallest (``min``) is the best.
        folder: to write into; the run folder if left out.
    """

    def __init__(
        self, monitor: str | None = None, mode: Literal["max", "min"] = "max", folder: str | None = None
    ) -> None:
        self.monitor, self.mode, self.folder = monitor, mode, folder
        self.best: float | None = None

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Save the best so far.

        Raises:
            ValueError: if validation logs no such figure.
        """
        if self.monitor is None or trainer.sanity_checking or trainer.state.fn != "fit":
            return
        figures = trainer.callback_metrics
        if self.monitor not in figures:
            raise ValueError(
                f"AdapterCheckpoint: nothing is logged as {self.monitor!r}{nearest(self.monitor, figures)}"
            )
        value = figures[self.monitor].item()
        if not math.isfinite(value):
            rank_zero_warn(f"AdapterCheckpoint: {self.monitor} is {value} at step {trainer.global_step}; not the best")
            return
        if self.best is None or (value > self.best if self.mode == "max" else value < self.best):
            self.best = value
            self._save(trainer, pl_module, "adapter-best")

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Save the last."""
        self._save(trainer, pl_module, "adapter")

    def state_dict(self) -> dict[str, Any]:
        """The best figure so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the best figure of an interrupted run."""
        self.best = state_dict["best"]

    def _save(self, trainer: L.Trainer, pl_module: Any, name: str) -> None:
        folder = Path(self.folder or trainer.default_root_dir) / name
        penalty = pl_module.objective.record()
        save_adapter(pl_module.hypernetwork, pl_module.generator, folder, penalty, trainer.is_global_zero)
