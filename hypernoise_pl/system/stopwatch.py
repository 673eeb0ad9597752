"""A stopwatch that waits for the device."""

from __future__ import annotations

import time

import torch


class Stopwatch:
    """Wall-clock seconds since it was made, the device's pending work included.

    Args:
        device: device that computes; a GPU is waited for at the start and at every reading.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._start = self._now()

    @property
    def seconds(self) -> float:
        """Seconds until now."""
        return self._now() - self._start

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
