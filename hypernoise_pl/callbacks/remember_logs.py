"""Identity of the loggers in checkpoints."""

from __future__ import annotations

from typing import Any

import lightning as L

from hypernoise_pl.training.loggers import VERSIONS, logger_versions


class RememberLogs(L.Callback):
    """Stores class and version of each logger in every checkpoint; a resumed run continues the same logs."""

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Store class and version of each logger."""
        checkpoint[VERSIONS] = logger_versions(trainer.loggers)
