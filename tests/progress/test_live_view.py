"""The live view of a terminal: what it shows, what is printed meanwhile, and what it leaves behind."""

import contextlib
import functools
import logging
import re
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from tqdm import tqdm

from hypernoise_pl.progress import Sparkline, Steps, part, phase, steps, terminal
from hypernoise_pl.progress.drawing import Row, draw_rows
from tests.screen import Screen

ROW = Row("fit", 0.5, "step 30 of 60  0:19 left", [["reward 6.318 ▂▃▅", "102 images/s"], ["validation: step 30, gain"]])
SIGNS = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def screen(monkeypatch) -> Screen:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(terminal, "FRAME_SECONDS", 60.0)  # pictures come when something happens
    return Screen()


def watched(test: Callable[..., None]) -> Callable[..., None]:
    """Have a test's output go to its screen; pytest takes it from a fixture."""

    @functools.wraps(test)
    def on_screen(screen: Screen, **fixtures: Any) -> None:
        with contextlib.redirect_stdout(screen), contextlib.redirect_stderr(screen):
            test(screen, **fixtures)

    return on_screen


def plain(rows: list[Row], width: int, **more) -> list[str]:
    return [SIGNS.sub("", line).rstrip() for line in draw_rows([], rows, width, **more)]


def test_row_fits_the_terminal_and_a_narrow_one_has_its_bar_below():
    below = ["  reward 6.318 ▂▃▅, 102 images/s", "  validation: step 30, gain"]
    wide, narrow = plain([ROW], 79), plain([ROW], 39)
    assert re.fullmatch(r"fit ━+[╸╺]━+ step 30 of 60  0:19 left", wide[0]) and len(wide[0]) == 79 and wide[1:] == below
    assert narrow[0] == "fit step 30 of 60  0:19 left" and re.fullmatch(r"━+[╸╺]━+", narrow[1])
    assert len(narrow[1]) == 39 and narrow[2:] == below
    assert plain([ROW], 28)[2:4] == ["  reward 6.318 ▂▃▅", "  102 images/s"]
    long = Row("fit", 0.5, "step 1", [["pictures: runs/fit/" + "x" * 60]])
    lines = plain([long], 39)
    assert max(map(len, lines)) <= 39 and "".join(line.strip() for line in lines[1:]).count("x") == 60


def test_no_color_removes_colours_only(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert re.search(r"\x1b\[3?8?;?\d", "".join(draw_rows([], [ROW], 79)))
    monkeypatch.setenv("NO_COLOR", "1")
    codes = set(re.findall(r"\x1b\[([0-9;]*)m", "".join(draw_rows([], [ROW], 79))))
    assert codes <= {"0", "1", "2"}  # bold and dim


def test_terminal_without_unicode_has_ascii_bars():
    line = plain([Row("fit", 0.5, "step 1", []), Row("loading", None, "0:01", [])], 60, encoding="ascii")
    assert all(text.isascii() for text in line) and line[1] == "| loading 0:01"


@watched
def test_view_is_drawn_during_work_and_leaves_one_line(screen):
    with Steps("fit", 4, "step", form="{unit} {done:,}{of}", note=lambda: "noted") as fit:
        assert re.fullmatch(r"\nfit ━+ step 0 of 4  0:00 so far\n  noted", screen.shown())
        fit.advance()
        fit.pause()
        with Steps("validation", 2, "batches"), part("ReNO"):
            rows = screen.shown().splitlines()
            assert rows[1].endswith("step 1 of 4  waits") and rows[3].startswith("validation ━")
            terminal.view._tick()
            assert screen.shown().splitlines()[4] == "  ReNO"
        fit.resume()
        assert "validation" not in screen.shown()
    assert screen.shown() == "fit: step 1 of 4 (25 %), noted, in 0:00"
    assert sys.stdout is screen and sys.stderr is screen


@watched
def test_error_leaves_one_line_of_the_outermost_work(screen):
    with pytest.raises(ValueError, match="wrong"), Steps("predict", 3, "prompts"), Steps("inner", 2, "units"):
        raise ValueError("wrong")
    print("predict: error: wrong", file=sys.stderr)
    assert screen.shown() == "predict: 0 of 3 prompts (0 %), after 0:00\npredict: error: wrong"


@watched
def test_other_output_is_printed_above_the_view(screen):
    logger, handler = logging.getLogger("tests.live_view"), logging.StreamHandler()
    logger.addHandler(handler)
    try:
        with Steps("fit", 2, "steps"):
            print("long " + "x" * 100)
            logger.warning("logged")
            with warnings.catch_warnings():
                warnings.simplefilter("default")
                warnings.showwarning = lambda message, *_: print(message, file=sys.stderr)
                warnings.warn("warned", stacklevel=1)
            sys.stderr.write("be")
            terminal.view._tick()
            assert screen.shown().splitlines()[5] == "be"  # in the view, for it has no end yet
            sys.stderr.write("gun\nrest")
            shown = screen.shown().splitlines()
    finally:
        logger.removeHandler(handler)
    assert shown[:5] == ["long " + "x" * 75, "x" * 25, "logged", "warned", "begun"] and shown[6] == "rest"
    assert screen.shown().splitlines()[4:] == ["begun", "restfit: 0 of 2 steps (0 %), in 0:00"]
    assert handler.stream is screen


@watched
def test_progress_bars_of_other_libraries_run_in_the_view_and_leave_one_line(screen):
    with Steps("fit", 2, "steps"):
        for _ in tqdm(range(3), desc="down", file=sys.stderr, mininterval=0, ncols=60):
            for _ in tqdm(range(2), desc="inner", file=sys.stderr, mininterval=0, leave=False, ncols=60):
                terminal.view._tick()
            shown = screen.shown()
            assert shown.count("down:") == 1 and "fit ━" in shown
        print("after")
        terminal.view._tick()
    lines = screen.shown().splitlines()
    assert lines[0].startswith("down: 100%") and lines[1:] == ["after", "fit: 0 of 2 steps (0 %), in 0:00"]


@watched
def test_progress_bar_that_outlives_the_view_continues_below_it(screen):
    with phase("loading"):
        bar = tqdm(total=2, desc="down", file=sys.stderr, mininterval=0, ncols=60)
    bar.update(2)
    bar.close()
    assert re.fullmatch(r"down: 100%.*", screen.shown())


@watched
def test_text_that_bypasses_the_view_is_not_overwritten(screen):
    with Steps("fit", 2, "steps"):
        screen.write("^Cfrom another process\n")
        terminal.view._tick()
        assert screen.shown().splitlines()[0] == "^Cfrom another process"
    assert screen.shown().splitlines()[0] == "^Cfrom another process"


@watched
def test_phase_has_a_spinner_and_a_long_phase_leaves_a_line(screen, monkeypatch):
    with phase("fit: loading models"):
        assert screen.shown() == "\n⠋ fit: loading models 0:00"
    assert not screen.shown()
    monkeypatch.setattr(steps, "LONG_PHASE_SECONDS", 0.0)
    with phase("fit: loading models"):
        pass
    assert screen.shown() == "fit: loading models, in 0:00"


@watched
def test_dumb_terminal_gets_lines(screen, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    with Steps("compare", 2, "NFE"), phase("hashing"):
        pass
    assert screen.shown().splitlines() == [
        "compare: 0 of 2 NFE (0 %)",
        "hashing",
        "compare: 0 of 2 NFE (0 %), in 0:00",
    ]


@watched
def test_closed_terminal_does_not_stop_the_work(screen, monkeypatch):
    def gone(text: str) -> int:
        raise OSError(5, "Input/output error")

    with Steps("fit", 2, "steps") as fit:
        monkeypatch.setattr(screen, "write", gone)
        terminal.view._tick()
        fit.advance(2)
        monkeypatch.undo()
    assert fit.done == 2


def test_sparkline_shows_the_whole_run_of_any_length():
    curve = Sparkline()
    assert not curve.draw(8)
    for value in (1.0, float("nan"), 2.0):
        curve.add(value)
    assert curve.draw(8) == "▁█"
    for step in range(5000):
        curve.add(step)
    assert curve.draw(8) == "▁▂▃▄▅▆▇█" and len(curve._points) < 256
    flat = Sparkline()
    flat.add(1.0)
    flat.add(1.0)
    assert flat.draw(8) == "▁▁"
