"""One progress bar for the whole run, counted in optimiser steps; and how long it takes, from its own first steps.

Where nobody watches a terminal there are lines in its place, for log files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import lightning as L
import torch

from hypernoise_pl.callbacks.evaluate import Evaluate
from hypernoise_pl.metrics.intervals import interval_in_words
from hypernoise_pl.progress import EVERY, Steps, say
from hypernoise_pl.report.tables import gain, reward_gain

WARM_UP, MEASURED = 2, 10  # first steps, which also compile and fill caches; steps whose time is the estimate


class Progress(L.Callback):
    """Shows steps done and left, reward and judged gain while fitting; batches at validation and test.

    In a terminal it draws bars. Elsewhere the first process prints lines: one at the start, one a minute, one at each
    validation and one at the end. A line's reward is the mean over this process's images since the line before.
    After its first steps a run says in one line how long a step takes and how long those that are left will.

    Args:
        every: seconds between two lines; 0 for one after every step.
    """

    def __init__(self, every: float = EVERY) -> None:
        if not every >= 0:
            raise ValueError(f"Progress: every must be at least 0 seconds, got {every}")
        self.every = every
        self._fit: Steps | None = None
        self._batches: Steps | None = None  # of validation or test
        self._first = 0  # step from which times are taken
        self._since: float | None = None
        self._rewards: list[float] = []  # since the last line
        self._said = math.nan  # reward of the last line
        self._images = 0  # of the step under way, in all processes
        self._images_a_step = 0
        self._figures: dict[str, float] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin where the run continues."""
        self._rewards, self._said, self._images, self._images_a_step = [], math.nan, 0, 0
        self._figures = {}
        device = pl_module.device

        def note() -> str:
            return self._note(device)

        done, form = trainer.global_step, "{unit} {done:,}{of}"
        self._fit = Steps("fit", _total(trainer), "step", done, note, form, self.every, trainer.is_global_zero)
        self._first, self._since = trainer.global_step + WARM_UP, None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance by the optimiser steps taken."""
        assert self._fit is not None
        if trainer.is_global_zero:
            reward = getattr(pl_module, "newest_reward", None)
            self._rewards.extend(filter(math.isfinite, [] if reward is None else reward.tolist()))
            self._images += len(batch) * trainer.world_size
            self._figures = {k.rsplit("/", 1)[-1]: float(v) for k, v in trainer.progress_bar_metrics.items()}
        steps = trainer.global_step - self._fit.done
        if not steps:
            return  # gradients of a step wait for its other micro-batches
        self._images_a_step, self._images = self._images // steps, 0
        self._fit.advance(steps)
        if trainer.global_step == self._first and self._since is None:
            self._since = self._fit.worked()
        elif trainer.global_step == self._first + MEASURED and self._since is not None and trainer.is_global_zero:
            self._say(trainer, (self._fit.worked() - self._since) / MEASURED)
            self._since = None

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say what was done."""
        self._close(said=True)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Leave the terminal clean for the error's line."""
        self._close(said=False)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count batches; training waits."""
        if trainer.sanity_checking:
            return
        if self._fit is not None:
            self._fit.pause()
        self._begin(trainer, "validation", trainer.num_val_batches)

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Advance."""
        if self._batches is not None:
            self._batches.advance()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say what validation found; training goes on."""
        if self._batches is None:
            return
        in_lines = self._batches.in_lines
        self._batches.close(said=self._fit is None)
        self._batches = None
        if self._fit is not None:
            if in_lines:
                say(f"validation: step {trainer.global_step:,}, {_found(trainer)}")
            self._fit.resume()

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count batches."""
        self._begin(trainer, "test", trainer.num_test_batches)

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Advance."""
        assert self._batches is not None
        self._batches.advance()

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say how long it took."""
        self._close(said=True)

    def _begin(self, trainer: L.Trainer, name: str, batches: Sequence[float]) -> None:
        total = int(sum(batches)) if math.isfinite(sum(batches)) else None
        self._batches = Steps(name, total, "batches", every=self.every, shown=trainer.is_global_zero)

    def _note(self, device: torch.device) -> str:
        """Reward, judged gain, speed and memory."""
        if self._fit is None:  # its first line
            return ""
        parts, pace = [], self._fit.pace()
        if self._rewards:
            self._said = fmean(self._rewards)
            self._rewards = []
        if math.isfinite(self._said):
            parts.append(f"reward {self._said:.3f}")
        if not self._fit.in_lines and "gain" in self._figures:
            parts.append(f"gain {self._figures['gain']:+.3f}")
        if pace is not None and self._images_a_step:
            parts.append(f"{_rate(self._images_a_step / pace)} images/s")
        if self._fit.in_lines and device.type == "cuda":
            parts.append(peak_memory(device))
        return ", ".join(parts)

    def _say(self, trainer: L.Trainer, seconds: float) -> None:
        total = _total(trainer)
        left = 0 if total is None else total - trainer.global_step
        if left > 0:
            steps = f"steps {self._first + 1} to {trainer.global_step}"
            say(f"fit: {seconds:.3g} s a step ({steps}): {spoken(seconds * left)} for the {left} steps left")

    def _close(self, said: bool) -> None:
        for steps in (self._batches, self._fit):
            if steps is not None:
                steps.close(said)
        self._batches = self._fit = None


def peak_memory(device: torch.device) -> str:
    """The most that tensors have taken of a GPU since the process began."""
    return f"peak {torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB"


def spoken(seconds: float) -> str:
    """A duration to two digits, in the unit that suits it."""
    for unit, size in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 1.5 * size:
            return f"about {seconds / size:.2g} {unit}"
    return f"about {seconds:.2g} seconds"


def _total(trainer: L.Trainer) -> int | None:
    """Optimiser steps of the whole run; None where epochs are without an end."""
    total = trainer.estimated_stepping_batches
    return int(total) if math.isfinite(total) and total > 0 else None


def _rate(images: float) -> str:
    """Three digits."""
    return f"{images:,.0f}" if images >= 100 else f"{images:.3g}"


def _found(trainer: L.Trainer) -> str:
    """The gain over the base that a validation has measured: by the judge, or by the reward where there is none."""
    tallies = next((c.tallies for c in trainer.callbacks if isinstance(c, Evaluate)), {})  # type: ignore[attr-defined]
    if not tallies:
        return "done"
    base, refined = tallies["base"], tallies["hypernetwork"]
    prompts = len(set(base.prompts))
    if base.correct:
        found = gain(refined, base)
        return f"gain {found.mean:+.3f} by the judge ({interval_in_words(found.interval, prompts)})"
    found = reward_gain(refined, base)
    reward = refined.mean(refined.reward)
    return f"reward {reward:.3f}, {found.mean:+.3f} over the base ({interval_in_words(found.interval, prompts)})"
