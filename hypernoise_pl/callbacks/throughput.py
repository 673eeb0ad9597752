"""Use of the device: share of its peak FLOP/s, and memory."""

from __future__ import annotations

from typing import Any

import lightning as L
import psutil
import torch

from hypernoise_pl.progress import say
from hypernoise_pl.training.flops import CountFlops, peak_flops

FIRST = 2  # optimiser steps before the one whose operations are counted: they also compile, fill caches and check


class Throughput(L.Callback):
    """Logs ``memory/peak_gib`` and ``speed/mfu`` beside the module's own ``speed/images_per_second``.

    The peak memory is the maximum that tensors have taken of a GPU since the process began; on a CPU, the largest
    resident memory of the process at a log entry. With several processes it is the largest of them.

    ``speed/mfu`` (model FLOPs utilisation) is the operations of a step over its seconds and the device's peak, the
    dense one in bfloat16. The operations are counted on one training batch of the third step: forward, backward and all
    rewards, without dL/dW of frozen weights and without recomputed activations (see ``CountFlops``). Where the peak of
    the device is unknown, as on a CPU, nothing is counted or logged. A line prints the number of operations.

    Args:
        peak_tflops: peak of the device in TFLOP/s; None for the peak of a known GPU.

    Attributes:
        flops_per_image: operations of an image's training step; None until they are counted.

    Source: Chowdhery et al. 2022 (PaLM), appendix B.
    """

    def __init__(self, peak_tflops: float | None = None) -> None:
        if peak_tflops is not None and not peak_tflops > 0:
            raise ValueError(f"Throughput: peak_tflops must be above 0, got {peak_tflops}")
        self.peak_tflops = peak_tflops
        self.flops_per_image: float | None = None
        self._peak: float | None = None
        self._counting: CountFlops | None = None
        self._first = self._step = 0  # steps: first that may be counted; last that was logged
        self._counted = 0  # step slowed by the count
        self._held = 0  # largest memory at a log entry

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look up the peak of the device."""
        device, given = pl_module.device, self.peak_tflops
        known = peak_flops(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
        self._peak = known if given is None else 1e12 * given
        self._step = trainer.global_step
        self._first = trainer.global_step + FIRST
        self.flops_per_image = None

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Begin to count, for one batch."""
        if self._peak is not None and self.flops_per_image is None and trainer.global_step >= self._first:
            self._counting, self._counted = CountFlops(), trainer.global_step + 1
            self._counting.__enter__()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """End the count, and log the figures."""
        if (counting := self._stop()) is not None:
            self.flops_per_image = counting.total / len(batch)
            if trainer.is_global_zero:
                assert self._peak is not None
                peak = f"{self._peak / 1e12:.4g} TFLOP/s"
                say(f"fit: {self.flops_per_image / 1e12:.3g} TFLOP an image and step; the device's peak is {peak}")
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        step = trainer.global_step
        if not every or step == self._step or step % every:
            return
        self._step = step
        figures = {"memory/peak_gib": self._memory(pl_module.device) / 2**30}
        rate = trainer.callback_metrics.get("speed/images_per_second")
        if self._peak is not None and self.flops_per_image is not None and rate is not None and step > self._counted:
            figures["speed/mfu"] = self.flops_per_image * float(rate) / (trainer.world_size * self._peak)
        several = trainer.world_size > 1
        pl_module.log_dict(figures, batch_size=1, sync_dist=several, reduce_fx="max")

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """End the count."""
        self._stop()

    def _stop(self) -> CountFlops | None:
        """End the count under way and return it."""
        counting, self._counting = self._counting, None
        if counting is not None:
            counting.__exit__(None, None, None)
        return counting

    def _memory(self, device: torch.device) -> int:
        """Peak memory in bytes."""
        if device.type == "cuda":
            return torch.cuda.max_memory_allocated(device)
        self._held = max(self._held, psutil.Process().memory_info().rss)
        return self._held
