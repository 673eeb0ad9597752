"""A small resumable training loop for the shapes world's own models: log, progress, checkpoint, average weights."""

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
from hypernoise_pl.system.files import whole
from hypernoise_pl.system.signals import Stopped, stoppable_at_a_step
from hypernoise_pl.system.threads import following_load


@dataclass(frozen=True)
class LoopOptions:
    """How long and how fast to train.

    Args:
        steps: optimiser steps.
        lr: peak learning rate; warmed up over 2 % of the steps, then a cosine down to a fiftieth.
        weight_decay: of AdamW.
        average: decay of the exponential average of the weights, which is what is returned; 0 for none.
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
    """Train a model; a run that was stopped continues from its last checkpoint with the same result.

    At SIGTERM or SIGINT it ends its step, saves a checkpoint and raises ``Stopped``.

    Args:
        name: of the stage; names its checkpoint and its log.
        model: what trains; changed in place.
        loss_at: step -> loss and figures to log. It must draw its randomness from the step number alone.
        options: steps and rates.
        folder: where ``<name>.pt`` and ``<name>.jsonl`` are kept.
        evaluate: called on the trained (averaged) model at every tenth of the way; its figures are logged.

    Returns:
        The trained model, or its running average where one was asked for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / f"{name}.pt"
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, options.lr, (0.9, 0.99), weight_decay=options.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _warm_cosine(step, options.steps))
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(options.average)) if options.average else None
    parts: dict[str, Any] = {"model": model, "optimizer": optimizer, "schedule": schedule} | (
        {"average": average} if average else {}
    )
    first, seconds = 0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        for key, part in parts.items():
            part.load_state_dict(saved[key])
        first, seconds = saved["step"], saved["seconds"]
    result: Any = average.module if average else model
    start = time.monotonic() - seconds
    newest: dict[str, Any] = {}

    def note() -> str:
        return ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in newest.items())

    shown = Steps(name, options.steps, "steps", first, note)
    with stoppable_at_a_step() as asked, open(folder / f"{name}.jsonl", "a") as log, shown:
        for step in following_load(range(first, options.steps)):
            loss, figures = loss_at(step)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(trainable, 1.0)
            optimizer.step()
            schedule.step()
            if average:
                average.update_parameters(model)
            done = step + 1
            if done % 50 == 0 or done == options.steps:
                row = {"step": done, "seconds": round(time.monotonic() - start, 1), "loss": loss.item(), **figures}
                if evaluate and (done % max(50, options.steps // 10 // 50 * 50) == 0 or done == options.steps):
                    row |= evaluate(result)
                    say(f"{name} {json.dumps(row)}")
                log.write(json.dumps(row) + "\n")
                log.flush()
                newest = {k: v for k, v in row.items() if k not in ("step", "seconds")}
            shown.advance()
            if done % options.save_every == 0 or done == options.steps or asked.signum is not None:
                state = {key: part.state_dict() for key, part in parts.items()}
                with whole(checkpoint) as partial:
                    torch.save(state | {"step": done, "seconds": time.monotonic() - start}, partial)
            if asked.signum is not None:
                raise Stopped(asked.signum)
    return result


def _warm_cosine(step: int, steps: int) -> float:
    warm = max(1, steps // 50)
    if step < warm:
        return (step + 1) / warm
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
