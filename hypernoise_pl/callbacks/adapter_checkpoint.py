"""Adapter folders: the last one, and the best by a logged figure."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import lightning as L
from lightning.pytorch.utilities import rank_zero_warn

from hypernoise_pl.adapters.files import save_adapter
from hypernoise_pl.callbacks.run_benchmark import resting
from hypernoise_pl.types import did_you_mean

LAST, BEST = "adapter", "adapter-best"  # folders


class AdapterCheckpoint(L.Callback):
    """Saves ``adapter`` when training ends, and ``adapter-best`` at each validation with a better figure.

    A run may have several, with different figures and names. The figure must be of the validation prompts; one of the
    test prompts would leak them into the choice. A figure that is NaN or infinite is never the best; a warning says so.
    A validation without the benchmark of the figure (see RunBenchmark) changes nothing.

    Args:
        monitor: name of a logged validation figure, such as ``validation/hypernetwork/reward/weighted``; None to save
            no best adapter.
        mode: ``max`` if the largest figure is the best, ``min`` if the smallest is.
        folder: folder of the adapter folders; the run folder if left out.
        name: folder name of the best adapter.

    Raises:
        ValueError: if the mode is unknown, or the name is no folder name or the last adapter's; at the start of a fit,
            if two callbacks would write the best adapter into one folder.
    """

    def __init__(
        self,
        monitor: str | None = None,
        mode: Literal["max", "min"] = "max",
        folder: str | None = None,
        name: str = BEST,
    ) -> None:
        if mode not in ("max", "min"):
            raise ValueError(f"AdapterCheckpoint: mode must be max or min, got {mode!r}")
        if name in ("", ".", "..", LAST) or Path(name).name != name:
            raise ValueError(f"AdapterCheckpoint: name must be a folder's name other than {LAST!r}, got {name!r}")
        self.monitor, self.mode, self.folder, self.name = monitor, mode, folder, name
        self.best: float | None = None

    @property
    def state_key(self) -> str:
        """Key of the state in a checkpoint; each figure has its own."""
        return self._generate_state_key(monitor=self.monitor, mode=self.mode, folder=self.folder, name=self.name)

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Check that no other callback writes into the same folder.

        Raises:
            ValueError: if one does.
        """
        same = [other for other in self._alike(trainer) if other.name == self.name]
        by = [other.monitor for other in same if other.monitor is not None]
        if len(by) > 1:
            raise ValueError(
                f"AdapterCheckpoint: the best by {by[0]} and by {by[1]} would both be {self.name}; give one of them "
                "another name"
            )

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Save the adapter if its figure is the best so far.

        Raises:
            ValueError: if validation logs no such figure.
        """
        if self.monitor is None or trainer.sanity_checking or trainer.state.fn != "fit":
            return
        figures = trainer.callback_metrics
        if resting(trainer, self.monitor):
            return
        if self.monitor not in figures:
            raise ValueError(
                f"AdapterCheckpoint: nothing is logged as {self.monitor!r}{did_you_mean(self.monitor, figures)}"
            )
        value = figures[self.monitor].item()
        if not math.isfinite(value):
            rank_zero_warn(f"AdapterCheckpoint: {self.monitor} is {value} at step {trainer.global_step}; not the best")
            return
        if self.best is None or (value > self.best if self.mode == "max" else value < self.best):
            self.best = value
            self._save(trainer, pl_module, self.name)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Save the last adapter."""
        if self._alike(trainer)[0] is self:
            self._save(trainer, pl_module, LAST)

    def state_dict(self) -> dict[str, Any]:
        """The best figure so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best figure of an interrupted run."""
        self.best = state_dict["best"]

    def _alike(self, trainer: L.Trainer) -> list[AdapterCheckpoint]:
        """All callbacks that write into this one's folder."""
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        same = [callback for callback in callbacks if isinstance(callback, AdapterCheckpoint)]
        return [callback for callback in same if callback.folder == self.folder]

    def _save(self, trainer: L.Trainer, pl_module: Any, name: str) -> None:
        folder = Path(self.folder or trainer.default_root_dir) / name
        penalty = pl_module.objective.record()
        save_adapter(pl_module.adapter, folder, penalty, trainer.is_global_zero)
