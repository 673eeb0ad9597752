"""Threads of the CPU's operations: as many as there are cores that other processes leave free."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import psutil
import torch

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # the user's own number, or a launcher's for its processes
BUSY_TIMES = ("user", "nice", "system", "irq", "softirq", "interrupt", "dpc")  # of psutil's times of a core

Unit = TypeVar("Unit")


class Threads:
    """Keeps the number of PyTorch's threads at that of the free cores, between 1 and what it was at first.

    The threads of one operation wait for one another, awake. Where another process has one of the cores, the waiting
    threads keep that core from the thread they wait for; with fewer threads the operation ends sooner (measured in
    benchmarks/README.md, "A busy machine"). A number that the environment gives (``OMP_NUM_THREADS``) stays. Another
    number of threads rounds sums in another order.

    Args:
        period: seconds between two looks at the load.
        first: seconds of the first look, in which this process sleeps.
    """

    def __init__(self, period: float = 2.0, first: float = 0.2) -> None:
        self.max_threads, self.period = torch.get_num_threads(), period
        self._seen = _times()
        if self._follows():
            time.sleep(first)
            self._set()

    def adapt(self) -> None:
        """Look at the load, if it is time, and set the number of threads; in the thread that computes."""
        if time.monotonic() - self._seen[0] >= self.period and self._follows():
            self._set()

    def _follows(self) -> bool:
        return self.max_threads > 1 and not any(name in os.environ for name in THREAD_VARIABLES)

    def _set(self) -> None:
        before, self._seen = self._seen, _times()
        seconds, all_of_them, own = (now - then for now, then in zip(self._seen, before, strict=True))
        wanted = free_threads(_core_count(), max(0.0, all_of_them - own) / seconds, self.max_threads)
        if wanted != torch.get_num_threads():
            torch.set_num_threads(wanted)


def adaptive_threads(units: Iterable[Unit]) -> Iterator[Unit]:
    """Units of work, one after the other; between two of them the number of threads follows the load."""
    threads = Threads()
    for unit in units:
        threads.adapt()
        yield unit


def free_threads(cores: int, others: float, max_threads: int) -> int:
    """The number of threads for so many cores, of which other processes keep ``others`` busy; 1 to ``most``."""
    return max(1, min(max_threads, int(cores - others + 0.5)))


def _core_count() -> int:
    return len(_allowed_cores()) or psutil.cpu_count() or 1


def _allowed_cores() -> set[int]:
    """The cores that this process may use; none where the system does not say."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def _times() -> tuple[float, float, float]:
    """Seconds by the clock; seconds that these cores have computed for anyone; and for this process."""
    own, every = _allowed_cores(), psutil.cpu_times(percpu=True)
    cores = [times for number, times in enumerate(every) if not own or number in own]
    computed = sum(getattr(times, kind, 0.0) for times in cores for kind in BUSY_TIMES)
    return time.monotonic(), computed, time.process_time()
