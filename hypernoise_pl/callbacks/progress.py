"""One progress bar for the whole run, counted in optimiser steps."""

from __future__ import annotations

from typing import Any

import lightning as L
from tqdm import tqdm


class Progress(L.Callback):
    """Shows steps done and left, reward and judged gain while fitting; batches at validation and test."""

    def __init__(self) -> None:
        self._bar: Any = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the bar where the run continues."""
        total = trainer.max_steps if trainer.max_steps > 0 else None
        self._open(trainer, "fit", total, trainer.global_step)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance by the optimiser steps taken."""
        figures = {k.rsplit("/", 1)[-1]: f"{v:.3f}" for k, v in trainer.progress_bar_metrics.items()}
        self._bar.set_postfix(figures, refresh=False)
        self._bar.update(trainer.global_step - self._bar.n)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close it."""
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Leave the terminal clean for the error's line."""
        self._close()

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open a bar of batches."""
        self._open(trainer, "test", sum(int(count) for count in trainer.num_test_batches))

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Advance."""
        self._bar.update()

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close it."""
        self._close()

    def _open(self, trainer: L.Trainer, name: str, total: int | None, done: int = 0) -> None:
        hidden = True if not trainer.is_global_zero else None  # None: hidden where no terminal is watching
        self._bar = tqdm(total=total, initial=done, desc=name, dynamic_ncols=True, disable=hidden, mininterval=0.5)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
