"""The validation that an interrupted run has missed."""

from __future__ import annotations

from typing import Any

import lightning as L


class MakeUpValidation(L.Callback):
    """Validates at the start of a continued run if the run ended between a checkpoint and the validation of its step.

    The checkpoint of a validated step is written before its validation; Lightning skips that validation on resuming.
    """

    def __init__(self) -> None:
        self._validated: int | None = None  # step; None if the checkpoint has none

    def state_dict(self) -> dict[str, Any]:
        """The step of the newest validation."""
        return {"validated": self._validated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the step of the newest validation."""
        self._validated = state_dict["validated"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Validate if the validation of this step was missed."""
        if trainer.global_step == 0:
            self._validated = 0
        if self.missed(trainer):
            loop = trainer.fit_loop.epoch_loop.val_loop
            loop.restarting = False
            trainer.validating = True
            loop.run()
            trainer.training = True

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Store the step."""
        if not trainer.sanity_checking:
            self._validated = trainer.global_step

    def missed(self, trainer: L.Trainer) -> bool:
        """Whether the validation of this step is due and was not run; False where epochs decide on validations."""
        every: Any = trainer.val_check_interval  # type: ignore[attr-defined]
        step, known = trainer.global_step, isinstance(every, int) and trainer.check_val_every_n_epoch is None
        if not known or self._validated is None or step <= self._validated or not trainer.enable_validation:
            return False
        return step * trainer.accumulate_grad_batches % every == 0
