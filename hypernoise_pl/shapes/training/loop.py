"""A small resumable training loop for the shapes world's models: log, progress, checkpoints, averaged weights."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from hypernoise_pl.progress import Steps, say
from hypernoise_pl.system.files import atomic_write
from hypernoise_pl.system.signals import Stopped, stoppable_at_step
from hypernoise_pl.system.threads import adaptive_threads

LOG_EVERY = 50  # steps


@dataclass(frozen=True)
class LoopOptions:
    """Length and rates of a training.

    Args:
        steps: optimiser steps.
        lr: peak learning rate; linear warm-up over 2 % of the steps, then cosine decay to a fiftieth.
        weight_decay: weight decay of AdamW.
        average: decay of the exponential moving average of the weights, which is the result; 0 for no average.
        save_every: steps between checkpoints.
    """

    steps: int
    lr: float
    weight_decay: float = 0.01
    average: float = 0.0
    save_every: int = 100


def train(
    name: str,
    model: nn.Module,
    loss_at: Callable[[int], tuple[Tensor, dict[str, float]]],
    options: LoopOptions,
    folder: Path,
    evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
) -> Any:
    """Train a model; a stopped run continues from its last checkpoint with the same result.

    SIGTERM and SIGINT end the current step, save a checkpoint and raise ``Stopped``.

    Args:
        name: name of the stage, of its checkpoint and its log.
        model: model to train; changed in place.
        loss_at: function from the step to the loss and figures to log; its random numbers may depend on the step alone.
        options: steps and rates.
        folder: folder of ``<name>.pt`` and ``<name>.jsonl``.
        evaluate: function from the trained (averaged) model to figures to log, called after every tenth of the steps.

    Returns:
        The trained model, or its moving average if ``options.average`` is set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = _TrainingState(model, options, folder / f"{name}.pt")
    state.load()
    latest: dict[str, Any] = {}
    progress = Steps(name, options.steps, "steps", state.step, lambda: _in_words(latest))
    with stoppable_at_step() as signal, open(folder / f"{name}.jsonl", "a") as log, progress:
        for step in adaptive_threads(range(state.step, options.steps)):
            loss, figures = loss_at(step)
            state.update(loss)
            last = state.step == options.steps
            if state.step % LOG_EVERY == 0 or last:
                row = {"step": state.step, "seconds": round(state.seconds(), 1), "loss": loss.item(), **figures}
                if evaluate and (state.step % _evaluation_interval(options.steps) == 0 or last):
                    row |= evaluate(state.result)
                    say(f"{name} {json.dumps(row)}")
                log.write(json.dumps(row) + "\n")
                log.flush()
                latest.clear()
                latest.update({k: v for k, v in row.items() if k not in ("step", "seconds")})
            progress.advance()
            if state.step % options.save_every == 0 or last or signal.signum is not None:
                state.save()
            if signal.signum is not None:
                raise Stopped(signal.signum)
    return state.result


class _TrainingState:
    """Everything that a checkpoint holds: model, optimiser, schedule, average, step and seconds.

    Args:
        model: model to train.
        options: steps and rates.
        file: checkpoint file.
    """

    def __init__(self, model: nn.Module, options: LoopOptions, file: Path) -> None:
        self.model, self.file, self.step = model, file, 0
        self.trainable = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trainable, options.lr, (0.9, 0.99), weight_decay=options.weight_decay)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: _warmup_cosine(step, options.steps)
        )
        decay = options.average
        self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay)) if decay else None
        self.parts: dict[str, Any] = {"model": model, "optimizer": self.optimizer, "schedule": self.schedule}
        if self.average is not None:
            self.parts["average"] = self.average
        self._start = time.monotonic()

    @property
    def result(self) -> Any:
        """The averaged model, or the model if there is no average."""
        return self.model if self.average is None else self.average.module

    def seconds(self) -> float:
        """Training time, earlier runs included."""
        return time.monotonic() - self._start

    def update(self, loss: Tensor) -> None:
        """Take one optimiser step."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.trainable, 1.0)
        self.optimizer.step()
        self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        self.step += 1

    def load(self) -> None:
        """Load the checkpoint, if there is one."""
        if not self.file.exists():
            return
        saved = torch.load(self.file, weights_only=True)
        for key, part in self.parts.items():
            part.load_state_dict(saved[key])
        self.step = saved["step"]
        self._start = time.monotonic() - saved["seconds"]

    def save(self) -> None:
        """Write the checkpoint atomically."""
        state = {key: part.state_dict() for key, part in self.parts.items()}
        with atomic_write(self.file) as partial:
            torch.save(state | {"step": self.step, "seconds": self.seconds()}, partial)


def _in_words(figures: dict[str, Any]) -> str:
    return ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items())


def _evaluation_interval(steps: int) -> int:
    """A tenth of the steps, rounded down to a multiple of the log interval."""
    return max(LOG_EVERY, steps // 10 // LOG_EVERY * LOG_EVERY)


def _warmup_cosine(step: int, steps: int) -> float:
    warmup = max(1, steps // 50)
    if step < warmup:
        return (step + 1) / warmup
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
