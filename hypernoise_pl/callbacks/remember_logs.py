"""Keep in a checkpoint by what a logging service knows this run."""

from __future__ import annotations

from typing import Any

import lightning as L

from hypernoise_pl.training.loggers import VERSIONS, versions


class RememberLogs(L.Callback):
    """Enters class and version of each logger into every checkpoint, so that a resumed run continues the same logs."""

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Enter them."""
        checkpoint[VERSIONS] = versions(trainer.loggers)
