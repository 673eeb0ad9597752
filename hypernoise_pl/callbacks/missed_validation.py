"""A validation that a stop has come before is made up for when the run goes on."""

from __future__ import annotations

from typing import Any

import lightning as L


class MakeUpValidation(L.Callback):
    """Validates first where a checkpoint was written at a step that is validated, and the run ended before it was.

    Checkpoints of such a step are written before its validation, and Lightning takes it for done when the run goes on.
    """

    def __init__(self) -> None:
        self._validated: int | None = None  # step; None for a checkpoint that does not say

    def state_dict(self) -> dict[str, Any]:
        """The step of the newest validation."""
        return {"validated": self._validated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it up."""
        self._validated = state_dict["validated"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Validate, if that was missed."""
        if trainer.global_step == 0:
            self._validated = 0
        if self.missed(trainer):
            loop = trainer.fit_loop.epoch_loop.val_loop
            loop.restarting = False
            trainer.validating = True
            loop.run()
            trainer.training = True

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take note of the step."""
        if not trainer.sanity_checking:
            self._validated = trainer.global_step

    def missed(self, trainer: L.Trainer) -> bool:
        """Whether this step should have been validated and was not; where epochs decide on that, no."""
        every: Any = trainer.val_check_interval  # type: ignore[attr-defined]
        step, known = trainer.global_step, isinstance(every, int) and trainer.check_val_every_n_epoch is None
        if not known or self._validated is None or step <= self._validated or not trainer.enable_validation:
            return False
        return step * trainer.accumulate_grad_batches % every == 0
