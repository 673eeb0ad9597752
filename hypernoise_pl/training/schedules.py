"""Learning rate schedules."""

from __future__ import annotations

import math

import torch
from torch.optim.lr_scheduler import LambdaLR


class WarmupCosine(LambdaLR):
    """Linear warm-up, then a cosine decay to a floor.

    Args:
        optimizer: optimiser; the module passes it.
        warmup_steps: number of optimiser steps up to the full rate.
        total_steps: total number of optimiser steps; after them the rate stays at the floor.
        floor: final rate as a fraction of the full rate, in [0, 1].

    Raises:
        ValueError: if ``total_steps`` is below 1.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, warmup_steps: int = 0, total_steps: int = 1000, floor: float = 0.1
    ) -> None:
        if not total_steps or total_steps < 1:  # None if trainer.max_steps is null
            raise ValueError(f"WarmupCosine: total_steps must be at least 1, got {total_steps}; set trainer.max_steps")
        self.warmup_steps, self.total_steps, self.floor = warmup_steps, total_steps, floor

        def rate(step: int) -> float:
            if step < warmup_steps:
                return (step + 1) / (warmup_steps + 1)
            done = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
            return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))

        super().__init__(optimizer, rate)
