"""What a command says of its progress: lines where nobody watches a terminal."""

import time

import pytest

from hypernoise_pl.progress import Steps, clock, pace, part, phase, steps


class Clock:
    """Time that goes on only when it is told to."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time_of(monkeypatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(pace, "time", found)
    return found


@pytest.mark.parametrize(("seconds", "said"), [(0.4, "0:00"), (192, "3:12"), (3599.6, "1:00:00"), (90061, "25:01:01")])
def test_durations_read_like_a_clock(seconds, said):
    assert clock(seconds) == said


def test_lines_have_count_share_note_and_remaining_time(time_of, capsys):
    steps = Steps("compare", 400, "NFE", 100, note=lambda: "noted", every=0)
    time_of.now += 10
    with part("hypernetwork"):
        steps.advance(20)  # half a second each
    time_of.now += 20
    steps.advance(40)
    steps.close()
    assert capsys.readouterr().out.splitlines() == [
        "compare: 100 of 400 NFE (25 %), noted",
        "compare: 120 of 400 NFE (30 %), noted, hypernetwork, 2:20 left",
        "compare: 160 of 400 NFE (40 %), noted, 2:00 left",
        "compare: 160 of 400 NFE (40 %), noted, in 0:30",
    ]


def test_remaining_time_follows_the_recent_speed_and_includes_pauses(time_of, capsys):
    steps = Steps("fit", 100, "step", form="{unit} {done:,}{of}", every=0)
    time_of.now += 1000  # the first step compiles
    steps.advance()
    for _ in range(9):
        time_of.now += 2
        steps.advance()
    assert steps.seconds_per_unit() == 2 and steps.remaining() == 180
    steps.pause()
    time_of.now += 30  # 3 seconds a step so far
    steps.resume()
    assert steps.seconds_per_unit() == 2 and steps.remaining() == 90 * (2 + 3)
    assert capsys.readouterr().out.splitlines()[-1] == "fit: step 10 of 100 (10 %), 3:00 left"
    steps.close()


def test_work_of_unknown_length_has_no_remaining_time(time_of, capsys):
    steps = Steps("fit", None, "step", form="{unit} {done:,}{of}", every=0)
    assert steps.remaining() is None
    time_of.now += 61
    steps.advance()
    assert steps.remaining() is None
    assert capsys.readouterr().out.splitlines() == ["fit: step 0", "fit: step 1, 1:01 so far"]
    steps.close()


def test_long_unit_prints_a_line_at_every_interval(capsys):
    with Steps("test", 1, "batches", every=0.05) as steps, part(lambda: "ReNO"):
        time.sleep(0.4)
        steps.advance()
    first, *between, last = capsys.readouterr().out.splitlines()
    assert first == "test: 0 of 1 batches (0 %)" and last == "test: 1 of 1 batches (100 %), in 0:00"
    assert 3 <= len(between) <= 8 and set(between) == {"test: 0 of 1 batches (0 %), ReNO"}


def test_paused_work_prints_nothing(capsys):
    steps = Steps("fit", 2, "steps", every=0.02)
    steps.pause()
    before = capsys.readouterr().out
    time.sleep(0.1)
    assert before and not capsys.readouterr().out
    steps.close(finished=False)


def test_error_leaves_no_line_and_no_thread(capsys):
    with pytest.raises(ValueError, match="wrong"), Steps("predict", 3, "prompts", every=0.02):
        raise ValueError("wrong")
    before = capsys.readouterr().out
    time.sleep(0.1)
    assert before.startswith("predict: 0 of 3 prompts (0 %)\n") and not capsys.readouterr().out


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"])
def test_only_the_first_process_prints(name, monkeypatch, capsys):
    monkeypatch.setenv(name, "1")
    with phase("fit: loading models"), Steps("predict", 1, "prompts", every=0) as steps:
        steps.advance()
    assert steps.done == 1 and not capsys.readouterr().out


def test_long_phase_prints_its_duration(monkeypatch, capsys):
    monkeypatch.setattr(steps, "LINE_SECONDS", 0.05)
    with phase("fit: loading models"):
        time.sleep(0.2)
    first, *more = capsys.readouterr().out.splitlines()
    assert first == "fit: loading models" and more and set(more) == {"fit: loading models, 0:00 so far"}
