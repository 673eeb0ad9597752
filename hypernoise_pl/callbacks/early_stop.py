"""A training that ends when a logged figure is no longer better."""

from __future__ import annotations

from typing import Any, Literal

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping

from hypernoise_pl.callbacks.run_benchmark import resting
from hypernoise_pl.progress import say
from hypernoise_pl.types import nearest


class EarlyStop(EarlyStopping):
    """Ends the training after a validation, once a figure has not been better for so many validations in a row.

    It is Lightning's EarlyStopping with the name of the figure checked at the first validation, the larger figure the
    better one unless said otherwise, and a line that says why it ends. A figure that is not finite ends it too. The
    adapter of the last step is saved and tested; AdapterCheckpoint with the same figure keeps the best one.

    Args:
        monitor: a figure that validation logs, like ``validation/hypernetwork/reward/weighted``, or ``alarm/signs``.
        mode: whether the largest (``max``) or smallest (``min``) is the best.
        patience: validations without a better figure after which the training ends.
        min_delta: by how much a figure has to be better to count.
        stopping_threshold: figure that is good enough: beyond it the training ends at once; None for none.
        divergence_threshold: figure that is too bad: beyond it the training ends at once; None for none.

    Raises:
        ValueError: at the first validation, if it logs no such figure.
    """

    def __init__(
        self,
        monitor: str,
        mode: Literal["max", "min"] = "max",
        patience: int = 3,
        min_delta: float = 0.0,
        stopping_threshold: float | None = None,
        divergence_threshold: float | None = None,
    ) -> None:
        if patience < 1:
            raise ValueError(f"EarlyStop: patience must be at least 1 validation, got {patience}")
        if mode not in ("max", "min"):
            raise ValueError(f"EarlyStop: mode must be max or min, got {mode!r}")
        super().__init__(
            monitor,
            min_delta,
            patience,
            mode=mode,
            stopping_threshold=stopping_threshold,
            divergence_threshold=divergence_threshold,
            check_on_train_epoch_end=False,
        )
        self.why = ""  # why the training has ended; empty where something else has ended it

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the figure.

        Raises:
            ValueError: if validation logs no such figure.
        """
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        if resting(trainer, self.monitor):
            return
        figures: dict[str, Any] = trainer.callback_metrics
        if self.monitor not in figures:
            raise ValueError(f"EarlyStop: nothing is logged as {self.monitor!r}{nearest(self.monitor, figures)}")
        super().on_validation_end(trainer, pl_module)
        if trainer.should_stop and not self.why and self.stopping_reason_message:
            told = self.stopping_reason_message.replace(" Signaling Trainer to stop.", "").rstrip(".")
            self.why = f"EarlyStop: {told[0].lower()}{told[1:]}"
            if trainer.is_global_zero:
                say(f"fit: step {trainer.global_step:,}: the training ends: {self.why}")
