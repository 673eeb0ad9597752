"""Who judges: one key of the configuration, asked before anything runs whether it can judge the prompts."""

import json
from pathlib import Path

import pytest

from hypernoise_pl.__main__ import main
from hypernoise_pl.runs.run_folder import OUTPUT_VARIABLE
from hypernoise_pl.shapes.judge import ShapesJudge
from hypernoise_pl.shapes.prompts import ShapesPrompts
from hypernoise_pl.types import Prompt

TINY = [
    "--trainer.max_steps=1",
    "--trainer.limit_val_batches=0",
    "--trainer.log_every_n_steps=1",
    "--data.batch_size=2",
    "--model.images_per_prompt=2",
    "--model.reference_search=null",
]
OWN = ["--data=TextPrompts", "--data.train=mine.txt", *TINY]


@pytest.fixture(scope="module")
def adapter(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fit")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["fit", *TINY, "--data.test=6", "--output=run"]) == 0
    return folder / "run" / "adapter"


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(OUTPUT_VARIABLE, raising=False)
    Path("mine.txt").write_text("a dragon\na castle\n")
    yield
    monkeypatch.delenv(OUTPUT_VARIABLE, raising=False)


def said(capsys, *arguments: str) -> str:
    assert main([*arguments]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    return line


@pytest.mark.parametrize("command", ["fit", "validate", "test", "compare"])
def test_prompts_that_the_judge_cannot_judge_are_refused_before_anything_runs(command, adapter, capsys):
    flags = (
        OWN
        if command == "fit"
        else [*(flag for flag in OWN if "images_per_prompt" not in flag), f"--adapter={adapter}"]
    )
    line = said(capsys, command, *flags, "--output=run")
    assert "ShapesJudge cannot judge 2 of 2 prompts; the first, 'a dragon', has no 'include' clauses" in line
    assert "--judge=null" in line
    assert not Path("run").exists()


def test_without_a_judge_the_rewards_are_measured_and_the_adapter_is_saved(capsys):
    assert main(["fit", *OWN, "--judge=null", "--output=run"]) == 0
    shown = capsys.readouterr().out
    summary = json.loads(Path("run/summary.json").read_text())
    base = summary["methods"]["base"]
    assert summary["gain_by"] == "weighted_reward" and summary["judged_by"] is None and base["judge"] == {}
    assert set(base["rewards"]) == {"clip", "pick", "image_reward"}
    assert "\nweighted reward " in shown and "\njudge " not in shown and "adapter      run/adapter" in shown


def test_without_callbacks_a_run_trains_saves_and_prints_its_last_lines(capsys):
    flags = ["--trainer.callbacks=[]", "--data.test=6", *TINY]
    assert main(["fit", *flags, "--output=run"]) == 0
    shown = capsys.readouterr().out
    assert "\njudge " in shown and "next         python -m hypernoise_pl predict" in shown
    assert Path("run/adapter/adapter_model.safetensors").is_file() and Path("run/summary.json").is_file()


def test_the_judge_that_is_configured_measures_and_no_second_one(capsys):
    line = said(capsys, "fit", "--trainer.callbacks=[hypernoise_pl.callbacks.evaluate.Evaluate]")
    assert "its judge is the key `judge`" in line


def test_the_shapes_judge_names_missing_metadata():
    judge = ShapesJudge()
    for split in ("validation", "test"):
        judge.check(ShapesPrompts().prompts(split))
    for metadata, lack in (
        ({}, "has no 'include' clauses"),
        ({"include": "star"}, "not a list of objects"),
        ({"include": [{"class": "star"}]}, "not a list of objects"),
        ({"include": [{"class": "bench", "count": 1}]}, "of class 'bench'"),
        ({"include": [{"class": "star", "count": 1, "color": "beige"}]}, "of color 'beige'"),
        ({"include": [{"class": "star", "count": 1}], "exclude": [{"class": "cow", "count": 1}]}, "of class 'cow'"),
    ):
        good = {"include": [{"class": "star", "count": 1, "color": "red"}]}
        with pytest.raises(ValueError, match=f"1 of 2 prompts; the first, 'bad', .*{lack}"):
            judge.check([Prompt("good", metadata=good), Prompt("bad", metadata=metadata)])


@pytest.mark.parametrize("flag", ["--trainer.max_epochs=1", "--trainer.max_steps=3"])
def test_a_training_that_does_not_reach_its_steps_says_where_it_ended(flag, capsys):
    given = ["fit", *TINY, "--judge=null", "--data.train=2", "--data.test=2", "--trainer.max_steps=3", flag]
    assert main([*given, "--output=run"]) == 0
    shown = capsys.readouterr().out
    ended = "the training ended after step 1 of 3: trainer.max_epochs, max_time, limit_train_batches or a callback"
    assert (ended in shown) == ("max_epochs" in flag)
    assert ("ended after" in shown) == ("max_epochs" in flag)
