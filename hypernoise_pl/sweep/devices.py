"""Divides the GPUs or CPU cores of a machine among the workers of a sweep."""

from __future__ import annotations

import os
from collections.abc import Sequence

from hypernoise_pl.config.signatures import ConfigError

CORES = os.cpu_count() or 1


def worker_environments(workers: int, fit_devices: int, gpus: Sequence[str], cores: int) -> list[dict[str, str]]:
    """Environment variables for the fits of each worker: its own GPUs, or its share of the CPU cores.

    Args:
        workers: number of fits that run at the same time.
        fit_devices: number of devices of a fit.
        gpus: names of the GPUs, as ``CUDA_VISIBLE_DEVICES`` lists them; empty on a machine without GPUs.
        cores: number of CPU cores.

    Raises:
        ConfigError: if a fit needs more GPUs than the machine has.
    """
    if gpus:
        if fit_devices > len(gpus):
            raise ConfigError(f"trainer.devices: {fit_devices}, but the machine has {len(gpus)} GPUs; lower it")
        starts = range(0, len(gpus) - fit_devices + 1, fit_devices)
        teams = [gpus[start : start + fit_devices] for start in starts]
        return [{"CUDA_VISIBLE_DEVICES": ",".join(teams[index % len(teams)])} for index in range(workers)]
    if workers == 1 or "OMP_NUM_THREADS" in os.environ:
        return [{} for _ in range(workers)]
    return [{"OMP_NUM_THREADS": str(max(1, cores // (workers * fit_devices)))} for _ in range(workers)]


def visible_gpus() -> list[str]:
    """Names of the GPUs that this process may use."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return named.split(",")[:count] if named else [str(index) for index in range(count)]
