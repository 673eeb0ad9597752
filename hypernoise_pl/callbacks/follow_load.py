"""Number of threads of a run on the CPU, by the load of other processes."""

from __future__ import annotations

from typing import Any

import lightning as L

from hypernoise_pl.system.threads import Threads


class FollowLoad(L.Callback):
    """Sets the number of PyTorch's threads to the number of free cores, before each batch."""

    def __init__(self) -> None:
        self._threads = Threads()

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Adapt the number of threads."""
        self._threads.adapt()

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Adapt the number of threads."""
        self._threads.adapt()

    on_test_batch_start = on_validation_batch_start
