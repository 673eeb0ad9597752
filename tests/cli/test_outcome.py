"""Every command's errors, signals and results become one line, an exit status and JSON in one place."""

import io
import signal
from argparse import ArgumentError

import pytest
from jsonargparse import ArgumentParser

from hypernoise_pl.cli.errors import type_error
from hypernoise_pl.cli.outcome import Outcome, print_json
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.search.base import Search
from hypernoise_pl.system.signals import Stopped


@pytest.mark.parametrize(
    ("error", "begun", "status", "line"),
    [
        (ConfigError("no key is called 'a'"), False, 2, "no key is called 'a'"),
        (FileNotFoundError("no such file"), True, 2, "no such file"),
        (ValueError("two\n lines"), True, 2, "two lines"),
        (OSError("disk full"), True, 1, "disk full"),
        (OSError("disk full"), False, 2, "disk full"),
        (RuntimeError("out of luck"), True, 1, "RuntimeError: out of luck; --verbose shows where"),
    ],
)
def test_an_error_is_one_line_and_an_exit_status(error, begun, status, line, capsys):
    with Outcome("fit") as outcome:
        outcome.begun = begun
        raise error
    assert outcome.status == status
    assert capsys.readouterr().err == f"hypernoise_pl fit: error: {line}\n"


def test_notes_stand_below_the_error_on_the_first_process_alone(capsys):
    for first in (True, False):
        error = OSError("disk full")
        error.add_note("step 3 is saved")
        with Outcome("fit", first=first):
            raise error
    *lines, last = capsys.readouterr().err.splitlines()
    assert lines == ["hypernoise_pl fit: error: disk full", "hypernoise_pl fit: step 3 is saved"]
    assert last == "hypernoise_pl fit: error: disk full"


def test_verbose_prints_the_traceback_of_every_error(capsys):
    with Outcome("score", verbose=True) as outcome:
        raise ConfigError("wrong")
    assert outcome.status == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_signal_is_one_line_with_the_next_step(capsys):
    stopped = Stopped(signal.SIGTERM)
    stopped.add_note("to continue: this")
    stopped.add_note("page: live.html")
    with Outcome("fit") as outcome:
        raise stopped
    with Outcome("export"):
        raise Stopped(signal.SIGINT)
    assert outcome.status == 143
    assert capsys.readouterr().err.splitlines() == [
        "hypernoise_pl fit: stopped by SIGTERM; to continue: this",
        "hypernoise_pl fit: page: live.html",
        "hypernoise_pl export: stopped by SIGINT; the same command begins anew",
    ]


def test_other_processes_leave_a_signal_to_the_first(capsys):
    with Outcome("fit", first=False) as outcome:
        raise Stopped(signal.SIGTERM)
    assert outcome.status == 0 and not capsys.readouterr().err


def test_json_is_printed_on_the_first_process_of_the_machine(monkeypatch):
    output = io.StringIO()
    print_json(None, output)
    monkeypatch.setenv("LOCAL_RANK", "1")
    print_json({"a": 1}, output)
    assert not output.getvalue()
    monkeypatch.setenv("LOCAL_RANK", "0")
    print_json({"a": 1}, output)
    assert output.getvalue() == '{\n "a": 1\n}\n'


@pytest.mark.parametrize("hint", [Search, Search | None])
def test_a_type_error_of_the_parser_names_the_whole_key_and_the_expected_type(hint):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--reference", type=hint)
    wrong = {"class_path": "hypernoise_pl.search.reno.ReNO", "init_args": {"iterations": "x"}}
    with pytest.raises(ArgumentError) as caught:
        parser.parse_object({"reference": wrong})
    assert (
        type_error(str(caught.value), prefix="--") == "--reference.iterations: Expected a <class 'int'>. Got value: x"
    )
