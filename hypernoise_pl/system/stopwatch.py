"""A stopwatch that includes the device's pending work."""

from __future__ import annotations

import time

import torch


class Stopwatch:
    """Measures wall-clock seconds since its creation, including the device's pending work.

    Args:
        device: device that computes; a GPU is synchronised at the start and at every reading.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._start = self._now()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return self._now() - self._start

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
