"""One progress bar for the whole run, counted in optimiser steps; and how long it takes, from its own first steps."""

from __future__ import annotations

import time
from typing import Any

import lightning as L
from tqdm import tqdm

WARM_UP, MEASURED = 2, 10  # first steps, which also compile and fill caches; steps whose time is the estimate


class Progress(L.Callback):
    """Shows steps done and left, reward and judged gain while fitting; batches at validation and test.

    After its first steps a run says in one line how long a step takes and how long those that are left will.
    """

    def __init__(self) -> None:
        self._bar: Any = None
        self._first = 0  # step from which times are taken
        self._since: float | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the bar where the run continues."""
        total = trainer.max_steps if trainer.max_steps > 0 else None
        self._open(trainer, "fit", total, trainer.global_step)
        self._first, self._since = trainer.global_step + WARM_UP, None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance by the optimiser steps taken."""
        figures = {k.rsplit("/", 1)[-1]: f"{v:.3f}" for k, v in trainer.progress_bar_metrics.items()}
        self._bar.set_postfix(figures, refresh=False)
        self._bar.update(trainer.global_step - self._bar.n)
        if trainer.global_step == self._first and self._since is None:
            self._since = time.monotonic()
        elif trainer.global_step == self._first + MEASURED and self._since is not None and trainer.is_global_zero:
            self._say(trainer, (time.monotonic() - self._since) / MEASURED)
            self._since = None

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

    def _say(self, trainer: L.Trainer, seconds: float) -> None:
        left = trainer.max_steps - trainer.global_step
        if left > 0:
            steps = f"steps {self._first + 1} to {trainer.global_step}"
            self._bar.write(
                f"fit: {seconds:.3g} s a step here ({steps}): {spoken(seconds * left)} for the {left} steps left, "
                "and then the test"
            )

    def _open(self, trainer: L.Trainer, name: str, total: int | None, done: int = 0) -> None:
        hidden = True if not trainer.is_global_zero else None  # None: hidden where no terminal is watching
        self._bar = tqdm(total=total, initial=done, desc=name, dynamic_ncols=True, disable=hidden, mininterval=0.5)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def spoken(seconds: float) -> str:
    """A duration to two digits, in the unit that suits it."""
    for unit, size in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 1.5 * size:
            return f"about {seconds / size:.2g} {unit}"
    return f"about {seconds:.2g} seconds"
