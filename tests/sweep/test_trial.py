"""A trial run (fast_dev_run) leaves nothing, and several commands in one process do not share a folder."""

import os
from pathlib import Path

import pytest

from hypernoise_pl.__main__ import main
from hypernoise_pl.runs.run_folder import OUTPUT_VARIABLE
from tests.tiny_adapter import save_shapes_adapter

TINY = ["--data.batch_size=2", "--data.test=6", "--model.reference_search=null", "--model.images_per_prompt=1"]
TINY += ["--trainer.log_every_n_steps=1"]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("output", [[], ["--output=runs/fit/mine"]])
def test_fast_dev_run_runs_every_part_and_leaves_no_files(output, capsys):
    saves = "--trainer.callbacks+=hypernoise_pl.callbacks.adapter_checkpoint.AdapterCheckpoint"
    assert main(["fit", "--trainer.fast_dev_run=true", *TINY, *output, saves]) == 0
    shown = capsys.readouterr().out
    assert "\njudge " in shown and "nothing is kept" in shown and "next " not in shown
    assert not list(Path().iterdir())
    assert main(["predict", "--prompt=a ring"]) == 2  # there is no newest fit
    assert "no run with adapter" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["test", "validate"])
def test_fast_dev_run_of_a_measurement_leaves_no_files(command, capsys):
    adapter = save_shapes_adapter(Path("adapter"))
    assert main([command, "--trainer.fast_dev_run=true", *TINY, f"--adapter={adapter}", "--output=run"]) == 0
    shown = capsys.readouterr().out
    assert "\njudge " in shown and "nothing is kept" in shown and "next " not in shown
    assert [file.name for file in Path().iterdir()] == ["adapter"]


def test_failed_fast_dev_run_leaves_no_files(capsys):
    assert main(["fit", "--trainer.fast_dev_run=true", *TINY, "--data.batch_size=100000"]) == 2
    assert not list(Path().iterdir())
    assert OUTPUT_VARIABLE not in os.environ


def test_two_commands_of_one_process_have_different_folders(monkeypatch):
    tiny = [*TINY, "--trainer.max_steps=1", "--trainer.limit_val_batches=0", "--trainer.limit_test_batches=0"]
    for name in ("one", "two"):
        assert main(["fit", *tiny, f"--output={name}"]) == 0
        assert Path(name, "adapter").is_dir() and not Path(name, "summary.json").exists()


@pytest.mark.parametrize("strength", ["nan", "inf", "-inf"])
def test_a_strength_is_a_finite_number(strength, capsys):
    assert main(["predict", "--prompt=a ring", f"--strength={strength}"]) == 2
    assert "needs a finite number" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["nan", ".nan", ".inf", "0", "-1"])
def test_a_budget_is_a_finite_time(seconds, capsys):
    assert main(["compare", f"--budget-seconds={seconds}"]) == 2
    assert "compare.budget_seconds: " in capsys.readouterr().err


def test_a_measurement_of_nothing_is_refused(capsys):
    tiny = [*TINY, "--trainer.max_steps=1", "--trainer.limit_val_batches=0", "--trainer.limit_test_batches=0"]
    assert main(["fit", *tiny, "--output=run"]) == 0
    for command, limit in (("test", "limit_test_batches"), ("validate", "limit_val_batches")):
        capsys.readouterr()
        assert main([command, "--adapter=run/adapter", f"--trainer.{limit}=0", f"--output={command}"]) == 2
        assert f"trainer.{limit}: 0, and nothing would be measured" in capsys.readouterr().err
        assert not Path(command).exists()
