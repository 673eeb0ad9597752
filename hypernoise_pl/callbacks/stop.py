"""Checkpoint on SIGTERM and SIGINT."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import lightning as L

from hypernoise_pl.system.signals import Stopped, StopRequest, stoppable_at_step


class SaveWhenAsked(L.Callback):
    """Ends the optimiser step at SIGTERM or SIGINT, saves ``last.ckpt`` and raises ``Stopped``.

    A signal during a validation waits for its end. A second signal stops at once, without a checkpoint. A signal to
    one of several processes stops all of them after the same step.
    """

    def __init__(self) -> None:
        self._asked, self._handlers = StopRequest(), contextlib.ExitStack()
        self._step = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take over the signals; Lightning's own handlers, which stop within a step, are set by now."""
        self._handlers.close()
        self._asked = self._handlers.enter_context(stoppable_at_step())
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop after a complete step.

        Raises:
            Stopped: once the checkpoint is written.
        """
        if trainer.global_step == self._step:
            return  # gradients of a step wait for its other micro-batches
        self._step = trainer.global_step
        signum = self._asked.signum
        if trainer.strategy.reduce_boolean_decision(signum is not None, all=False):
            keeps: Any = trainer.checkpoint_callback
            folder = getattr(keeps, "dirpath", None) or Path(trainer.default_root_dir) / "checkpoints"
            trainer.save_checkpoint(Path(folder) / "last.ckpt")
            raise Stopped(signum or 15)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore the signal handlers."""
        self._handlers.close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Restore the signal handlers."""
        self._handlers.close()
