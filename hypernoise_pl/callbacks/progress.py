"""Progress of a run in optimiser steps, and an estimate of its duration from its first steps."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import lightning as L
import psutil
import torch

from hypernoise_pl.callbacks.evaluate import Evaluate
from hypernoise_pl.callbacks.image_grid import ImageGrid
from hypernoise_pl.metrics.intervals import interval_in_words
from hypernoise_pl.progress import LINE_SECONDS, Sparkline, Steps, say
from hypernoise_pl.report.rows import JUDGE, WEIGHTED
from hypernoise_pl.report.summary import gain, quality

CURVE, SMOOTHED = 20, 10  # characters of the reward curve; steps of its running mean
PAGE = "live.html"  # of the run folder
WARM_UP, MEASURED = 2, 10  # first steps, which compile and fill caches; steps of the estimate


class Progress(L.Callback):
    """Shows steps done and left, speed, reward and judged gain while fitting; batches at validation and test.

    In a terminal the first process draws a live view: a bar, the mean reward of the newest ten steps with its curve
    over the run, images per second, memory (of the process on a CPU, the peak on a GPU), the gain at the newest
    validation with its interval, and the path of the newest picture. Elsewhere it prints lines: one at the start, one
    per minute, one at each validation and one at the end. The reward of a line is the mean over this process's images
    since the last line. After the first steps one line has the time of a step and of the remaining steps.

    Args:
        every: seconds between two lines; 0 for a line after every step.

    Attributes:
        seconds_per_step: mean time of a step of the newest training, without the first steps and validations; None for
            a training of fewer steps.
    """

    def __init__(self, every: float = LINE_SECONDS) -> None:
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
        self._curve, self._newest = Sparkline(), deque[float](maxlen=SMOOTHED)  # mean rewards of steps
        self._step: list[float] = []  # rewards of the step under way
        self._validated = ""
        self._warm = 0.0  # seconds of work until the first steps were done
        self.seconds_per_step: float | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin at the step of the run."""
        self._rewards, self._said, self._images, self._images_a_step = [], math.nan, 0, 0
        self._curve, self._newest, self._step, self._validated = Sparkline(), deque(maxlen=SMOOTHED), [], ""
        device = pl_module.device

        def note() -> str:
            return self._note(device)

        def facts() -> list[list[str]]:
            return self._facts(trainer, device)

        done, form = trainer.global_step, "{unit} {done:,}{of}"
        shown = trainer.is_global_zero
        self._fit = Steps("fit", _total(trainer), "step", done, note, form, self.every, shown, facts)
        self._first, self._since, self.seconds_per_step = trainer.global_step + WARM_UP, None, None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance by the optimiser steps taken."""
        assert self._fit is not None
        if trainer.is_global_zero:
            reward = getattr(pl_module, "newest_reward", None)
            self._step.extend(filter(math.isfinite, [] if reward is None else reward.tolist()))
            self._images += len(batch) * trainer.world_size
        steps = trainer.global_step - self._fit.done
        if not steps:
            return  # gradients of a step wait for its other micro-batches
        self._images_a_step, self._images = self._images // steps, 0
        self._keep()
        self._fit.advance(steps)
        if trainer.global_step > self._first:
            self.seconds_per_step = (self._fit.worked() - self._warm) / (trainer.global_step - self._first)
        if trainer.global_step == self._first and self._since is None:
            self._since = self._warm = self._fit.worked()
        elif trainer.global_step == self._first + MEASURED and self._since is not None and trainer.is_global_zero:
            self._say(trainer, (self._fit.worked() - self._since) / MEASURED)
            self._since = None

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the last line."""
        self._close(finished=True)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Clear the live view before the error message."""
        self._close(finished=False)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Pause the training, and count batches."""
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
        """Print the gain, and resume the training."""
        if self._batches is None:
            return
        in_lines = self._batches.in_lines
        self._batches.close(finished=self._fit is None)
        self._batches = None
        if self._fit is not None:
            self._validated = f"step {trainer.global_step:,}, {_gain(trainer)}"
            if in_lines:
                say(f"validation: {self._validated}")
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
        """Print the last line."""
        self._close(finished=True)

    def _begin(self, trainer: L.Trainer, name: str, batches: Sequence[float]) -> None:
        total = int(sum(batches)) if math.isfinite(sum(batches)) else None
        self._batches = Steps(name, total, "batches", every=self.every, shown=trainer.is_global_zero)

    def _keep(self) -> None:
        """Add the mean reward of a finished step."""
        if not self._step:
            return
        mean = fmean(self._step)
        self._curve.add(mean)
        self._newest.append(mean)
        if self._fit is not None and self._fit.in_lines:
            self._rewards.extend(self._step)
        self._step = []

    def _note(self, device: torch.device) -> str:
        """Reward, speed and memory, for a line."""
        if self._fit is None:  # its first line
            return ""
        parts = []
        if self._rewards:
            self._said = fmean(self._rewards)
            self._rewards = []
        elif not self._fit.in_lines and self._newest:
            self._said = fmean(tuple(self._newest))
        if math.isfinite(self._said):
            parts.append(f"reward {self._said:.3f}")
        parts.extend(self._speed())
        if self._fit.in_lines and device.type == "cuda":
            parts.append(peak_memory(device))
        return ", ".join(parts)

    def _facts(self, trainer: L.Trainer, device: torch.device) -> list[list[str]]:
        """Lines below the bar of the live view."""
        reward = f"reward {fmean(tuple(self._newest)):.3f} {self._curve.draw(CURVE)}".rstrip() if self._newest else ""
        memory = peak_memory(device) if device.type == "cuda" else process_memory()
        lines = [[reward, *self._speed(), memory]]
        if self._validated:
            lines.append([f"validation: {self._validated}"])
        page = Path(trainer.default_root_dir) / PAGE
        grids = (grid.last for grid in trainer.callbacks if isinstance(grid, ImageGrid))  # type: ignore[attr-defined]
        files = {"page": page if page.is_file() else None, "pictures": next(grids, None)}
        return [*lines, *([f"{name}: {file}"] for name, file in files.items() if file is not None)]

    def _speed(self) -> list[str]:
        pace = None if self._fit is None else self._fit.seconds_per_unit()
        return [f"{_rate(self._images_a_step / pace)} images/s"] if pace is not None and self._images_a_step else []

    def _say(self, trainer: L.Trainer, seconds: float) -> None:
        total = _total(trainer)
        left = 0 if total is None else total - trainer.global_step
        if left > 0:
            steps = f"steps {self._first + 1} to {trainer.global_step}"
            say(f"fit: {seconds:.3g} s a step ({steps}): {spoken(seconds * left)} for the {left} steps left")

    def _close(self, finished: bool) -> None:
        for steps in (self._batches, self._fit):
            if steps is not None:
                steps.close(finished)
        self._batches = self._fit = None


def peak_memory(device: torch.device) -> str:
    """Peak GPU memory of tensors since the process began."""
    return f"peak {torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB"


def process_memory() -> str:
    """Resident memory of this process."""
    return f"memory {psutil.Process().memory_info().rss / 2**30:.1f} GiB"


def spoken(seconds: float) -> str:
    """A duration in words, to two digits."""
    for unit, size in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 1.5 * size:
            return f"about {seconds / size:.2g} {unit}"
    return f"about {seconds:.2g} seconds"


def _total(trainer: L.Trainer) -> int | None:
    """Optimiser steps of the whole run; None where the number is unbounded."""
    total = trainer.estimated_stepping_batches
    return int(total) if math.isfinite(total) and total > 0 else None


def _rate(images: float) -> str:
    """Three digits."""
    return f"{images:,.0f}" if images >= 100 else f"{images:.3g}"


def _gain(trainer: L.Trainer) -> str:
    """The gain over the base at the newest validation: by the judge, or by the weighted reward without one."""
    rows = next((c.rows for c in trainer.callbacks if isinstance(c, Evaluate)), {})  # type: ignore[attr-defined]
    if not rows:
        return "done"
    base, refined = rows["base"], rows["hypernetwork"]
    prompts = len({row.prompt for row in base})
    if base[0].judge is not None:
        over = gain(refined, base, JUDGE)
        return f"gain {over.mean:+.3f} by the judge ({interval_in_words(over.interval, prompts)})"
    over, reward = gain(refined, base, WEIGHTED), quality(refined)["weighted_reward"]
    return f"reward {reward:.3f}, {over.mean:+.3f} over the base ({interval_in_words(over.interval, prompts)})"
