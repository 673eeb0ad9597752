"""The number of threads follows the free cores and never overrides the user's number."""

import os
import subprocess
import sys

import pytest
import torch

from hypernoise_pl.system import threads
from hypernoise_pl.system.threads import Threads, adaptive_threads, free_threads


@pytest.fixture(autouse=True)
def as_found(monkeypatch):
    """Remove thread variables from the environment; restore the number of threads afterwards."""
    found = torch.get_num_threads()
    for name in threads.THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    yield
    torch.set_num_threads(found)


@pytest.mark.parametrize(
    ("cores", "others", "most", "wanted"),
    [
        (2, 0.0, 2, 2),
        (2, 0.3, 2, 2),
        (2, 0.67, 2, 1),
        (2, 2.0, 2, 1),
        (1, 0.0, 1, 1),
        (16, 1.0, 16, 15),
        (16, 5.3, 16, 11),
        (16, 1.0, 8, 8),
        (16, 15.9, 8, 1),
    ],
)
def test_free_threads_are_the_cores_that_others_leave_free(cores, others, most, wanted):
    assert free_threads(cores, others, most) == wanted


def test_one_thread_remains_beside_processes_that_use_all_cores():
    torch.set_num_threads(2)
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * os.cpu_count())]
    try:
        Threads(first=1.0)
        assert torch.get_num_threads() == 1
    finally:
        for other in others:
            other.kill()
            other.wait()


class Clock:
    """A fake system clock of two cores, one of which another process may use."""

    def __init__(self, monkeypatch):
        self.now = self.computed = self.own = 0.0
        monkeypatch.setattr(threads, "_times", lambda: (self.now, self.computed, self.own))
        monkeypatch.setattr(threads, "_core_count", lambda: 2)
        monkeypatch.setattr(threads.time, "sleep", lambda seconds: self.run(seconds, own=0.0))
        monkeypatch.setattr(threads.time, "monotonic", lambda: self.now)
        self.others = 0.0

    def run(self, seconds, own):
        self.now, self.own = self.now + seconds, self.own + own * seconds
        self.computed += (self.others + own) * seconds


def test_thread_count_recovers_when_the_other_process_ends(monkeypatch):
    torch.set_num_threads(2)
    clock = Clock(monkeypatch)
    clock.others = 1.0
    load = Threads()
    assert torch.get_num_threads() == 1
    clock.others = 0.0
    clock.run(1.0, own=1.0)
    load.adapt()
    assert torch.get_num_threads() == 1  # the period is not over
    clock.run(4.0, own=1.0)
    load.adapt()
    assert torch.get_num_threads() == 2


def test_thread_count_adapts_between_units_of_work(monkeypatch):
    torch.set_num_threads(2)
    clock, seen = Clock(monkeypatch), []
    for others in adaptive_threads([0.0, 1.0, 0.0, 0.0]):
        seen.append(torch.get_num_threads())
        clock.others = others
        clock.run(5.0, own=1.0)
    assert seen == [2, 2, 1, 2]


@pytest.mark.parametrize("name", threads.THREAD_VARIABLES)
def test_thread_count_in_the_environment_stays(monkeypatch, name):
    torch.set_num_threads(2)
    monkeypatch.setenv(name, "2")
    clock = Clock(monkeypatch)
    clock.others = 2.0
    load = Threads()
    clock.run(5.0, own=1.0)
    load.adapt()
    assert torch.get_num_threads() == 2


def test_measured_times_of_this_machine_are_plausible():
    before = threads._times()
    end = before[2] + 0.3
    while threads.time.process_time() < end:
        sum(range(1000))
    seconds, computed, own = (now - then for now, then in zip(threads._times(), before, strict=True))
    assert own >= 0.3 and 0 <= computed <= 1.1 * threads._core_count() * seconds + 0.1
