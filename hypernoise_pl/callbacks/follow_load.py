"""A run on the CPU leaves cores to other processes."""

from __future__ import annotations

from typing import Any

import lightning as L

from hypernoise_pl.system.threads import Threads


class FollowLoad(L.Callback):
    """Before each batch, sets the number of PyTorch's threads to that of the cores that are free."""

    def __init__(self) -> None:
        self._threads = Threads()

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Look at the load."""
        self._threads.adapt()

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Look at the load."""
        self._threads.adapt()

    on_test_batch_start = on_validation_batch_start
