"""The number of CPU threads, adapted to the cores that other processes leave free."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import psutil
import torch

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # set by the user or by a launcher
BUSY_TIMES = (
    "user",
    "nice",
    "system",
    "irq",
    "softirq",
    "interrupt",
    "dpc",
)  # psutil's times of a core that count as busy

Unit = TypeVar("Unit")


class Threads:
    """Keeps the number of PyTorch's threads at the number of free cores, between 1 and the initial number.

    The threads of one operation wait for each other in busy loops. If another process uses one of the cores, the
    waiting threads compete with the thread that they wait for; fewer threads end the operation sooner (measured in
    benchmarks/README.md, "A busy machine"). A number in the environment (``OMP_NUM_THREADS``) stays. A different number
    of threads changes the order in which sums are rounded.

    Args:
        period: seconds between two measurements of the load.
        first: seconds of the first measurement, in which this process sleeps.
    """

    def __init__(self, period: float = 2.0, first: float = 0.2) -> None:
        self.max_threads, self.period = torch.get_num_threads(), period
        self._last_times = _times()
        if self._is_adaptive():
            time.sleep(first)
            self._set()

    def adapt(self) -> None:
        """Measure the load once per period and set the number of threads; call it in the computing thread."""
        if time.monotonic() - self._last_times[0] >= self.period and self._is_adaptive():
            self._set()

    def _is_adaptive(self) -> bool:
        return self.max_threads > 1 and not any(name in os.environ for name in THREAD_VARIABLES)

    def _set(self) -> None:
        previous, self._last_times = self._last_times, _times()
        seconds, total, own = (now - then for now, then in zip(self._last_times, previous, strict=True))
        count = free_threads(_core_count(), max(0.0, total - own) / seconds, self.max_threads)
        if count != torch.get_num_threads():
            torch.set_num_threads(count)


def adaptive_threads(units: Iterable[Unit]) -> Iterator[Unit]:
    """Yield units of work; adapt the number of threads to the load between them."""
    threads = Threads()
    for unit in units:
        threads.adapt()
        yield unit


def free_threads(cores: int, others: float, max_threads: int) -> int:
    """The number of free cores, from 1 to ``max_threads``, if other processes keep ``others`` of them busy."""
    return max(1, min(max_threads, int(cores - others + 0.5)))


def _core_count() -> int:
    return len(_allowed_cores()) or psutil.cpu_count() or 1


def _allowed_cores() -> set[int]:
    """The cores that this process may use; empty if the system does not report them."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def _times() -> tuple[float, float, float]:
    """Seconds of the clock, of all processes on these cores, and of this process."""
    allowed, all_cores = _allowed_cores(), psutil.cpu_times(percpu=True)
    cores = [times for number, times in enumerate(all_cores) if not allowed or number in allowed]
    computed = sum(getattr(times, name, 0.0) for times in cores for name in BUSY_TIMES)
    return time.monotonic(), computed, time.process_time()
