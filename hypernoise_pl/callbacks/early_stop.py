"""Early stop by a logged figure."""

from __future__ import annotations

from typing import Any, Literal

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping

from hypernoise_pl.callbacks.run_benchmark import resting
from hypernoise_pl.progress import say
from hypernoise_pl.types import did_you_mean


class EarlyStop(EarlyStopping):
    """Ends the training once a figure has not been better for ``patience`` validations in a row.

    The class adds to Lightning's EarlyStopping: it checks the figure's name at the first validation, takes the larger
    figure for the better one by default, and prints a line with the reason. A figure that is not finite ends the
    training too. The adapter of the last step is saved and tested; AdapterCheckpoint with the same figure keeps the
    best one.

    Args:
        monitor: name of a logged validation figure, such as ``validation/hypernetwork/reward/weighted``, or
            ``alarm/signs``.
        mode: ``max`` if the largest figure is the best, ``min`` if the smallest is.
        patience: number of validations without a better figure after which the training ends; at least 1.
        min_delta: smallest change that counts as better.
        stopping_threshold: figure beyond which the training ends at once as good enough; None for no threshold.
        divergence_threshold: figure beyond which the training ends at once as too bad; None for no threshold.

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
        self.why = ""  # reason of the end; empty while training, or where something else ended it

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compare the figure with the best one.

        Raises:
            ValueError: if validation logs no such figure.
        """
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        if resting(trainer, self.monitor):
            return
        figures: dict[str, Any] = trainer.callback_metrics
        if self.monitor not in figures:
            raise ValueError(f"EarlyStop: nothing is logged as {self.monitor!r}{did_you_mean(self.monitor, figures)}")
        super().on_validation_end(trainer, pl_module)
        if trainer.should_stop and not self.why and self.stopping_reason_message:
            reason = self.stopping_reason_message.replace(" Signaling Trainer to stop.", "").rstrip(".")
            self.why = f"EarlyStop: {reason[0].lower()}{reason[1:]}"
            if trainer.is_global_zero:
                say(f"fit: step {trainer.global_step:,}: the training ends: {self.why}")
