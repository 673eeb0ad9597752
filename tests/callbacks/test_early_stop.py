"""A training that ends by a figure: from the command line, with the line that says so; and wrong names of figures."""

import json
from pathlib import Path

import pytest

from hypernoise_pl.__main__ import main
from hypernoise_pl.callbacks.adapter_checkpoint import AdapterCheckpoint
from hypernoise_pl.callbacks.early_stop import EarlyStop
from hypernoise_pl.cli.command_config import merge_command
from hypernoise_pl.config.options import Options
from tests.callbacks.test_callbacks import Figure, fit

SHORT = ["--trainer.max_steps=8", "--trainer.val_check_interval=1", "--data.batch_size=2", "--data.test=6"]
SHORT += ["--data.validation=6", "--model.images_per_prompt=1", "--model.reference_search=null", "--judge=null"]
SHORT += ["--trainer.callbacks.NoiseHealth.images=1", "--model.optimizer.lr=0", "--output=run"]
STOP = ["--trainer.callbacks+=EarlyStop", "--trainer.callbacks.EarlyStop.monitor=validation/win_rate"]


@pytest.mark.parametrize("kind", ["EarlyStop", "EarlyStopping"])
def test_a_run_stops_by_a_configured_figure_and_prints_the_reason(own_folder, capsys, kind):
    """At a rate of 0 nothing gets better: the first validation is the best, and two more are waited for."""
    flags = [flag.replace("EarlyStop", kind) for flag in STOP]
    assert main(["fit", *SHORT, *flags, f"--trainer.callbacks.{kind}.patience=2"]) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    rows = [json.loads(line) for line in Path("run/history.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["split"] == "validation"] == [1, 2, 3]
    why = "trainer.max_epochs, max_time, limit_train_batches or a callback stopped it"
    if kind == "EarlyStop":
        why = "EarlyStop: monitored metric validation/win_rate did not improve in the last 2 records. Best score: 0.500"
        assert f"fit: step 3: the training ends: {why}\n" in said
    assert f"the training ended after step 3 of 8: {why}\n" in said
    assert Path("run/summary.json").is_file() and Path("run/adapter").is_dir()


def test_an_unknown_figure_is_refused_in_one_line(own_folder, capsys):
    assert main(["fit", *SHORT, STOP[0], "--trainer.callbacks.EarlyStop.monitor=validation/winrate"]) != 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "EarlyStop:" in line]
    assert "nothing is logged as 'validation/winrate' (did you mean 'validation/win_rate'?)" in line


@pytest.mark.parametrize(
    ("mode", "values", "best"), [("max", [0.1, 0.7, 0.2, 0.3], 0.7), ("min", [0.7, 0.1, 0.3, 0.2], 0.1)]
)
def test_the_larger_or_the_smaller_figure_is_the_better(sana_folder, tmp_path, mode, values, best):
    stop = EarlyStop("validation/figure", mode, patience=2)
    trainer = fit(sana_folder, tmp_path, Figure(values), stop)
    assert trainer.global_step == 4 and stop.best_score.item() == pytest.approx(best)
    stop = EarlyStop("validation/figure", mode, patience=1)
    trainer = fit(sana_folder, tmp_path, Figure(values), stop)
    assert (
        trainer.global_step == 3
        and f"validation/figure did not improve in the last 1 records. Best score: {best:.3f}" in stop.why
    )


def test_invalid_arguments_are_refused():
    with pytest.raises(ValueError, match="EarlyStop: patience must be at least 1 validation, got 0"):
        EarlyStop("a", patience=0)
    with pytest.raises(ValueError, match="EarlyStop: mode must be max or min, got 'most'"):
        EarlyStop("a", "most")
    for name in ("adapter", "a/b", "", ".."):
        with pytest.raises(ValueError, match="AdapterCheckpoint: name must be a folder's name other than 'adapter'"):
            AdapterCheckpoint("a", name=name)


def test_several_best_adapters_have_a_folder_and_a_state_each(sana_folder, tmp_path):
    highest, lowest = AdapterCheckpoint("validation/figure"), AdapterCheckpoint("validation/figure", "min", name="low")
    trainer = fit(sana_folder, tmp_path, Figure([0.1, 0.7, -0.3, 0.2]), highest, lowest)
    assert {path.parent.name for path in tmp_path.glob("*/adapter_model.safetensors")} == {
        "adapter",
        "adapter-best",
        "low",
    }
    trainer.save_checkpoint(tmp_path / "both.ckpt")
    one, two = AdapterCheckpoint("validation/figure"), AdapterCheckpoint("validation/figure", "min", name="low")
    trainer.callbacks[1:] = [one, two]
    trainer._checkpoint_connector.resume_start(tmp_path / "both.ckpt", weights_only=True)
    trainer._checkpoint_connector.restore_callbacks()
    assert (one.best, two.best) == (pytest.approx(0.7), pytest.approx(-0.3))
    clash = [AdapterCheckpoint("validation/figure"), AdapterCheckpoint("validation/other")]
    with pytest.raises(
        ValueError, match=r"best by validation/figure and by validation/other would both be adapter-best"
    ):
        fit(sana_folder, tmp_path, Figure([0.0] * 4), *clash)


def test_the_alarm_and_the_throughput_are_in_the_default_recipes():
    for recipe in ("fit", "sana_sprint", "flux_schnell"):
        config = merge_command("fit", Options(config=[recipe]), []).config
        names = [each["class_path"].rpartition(".")[2] for each in config["trainer"]["callbacks"]]
        assert {"HackingAlarm", "Throughput"} <= set(names)
        assert max(map(names.index, ("HackingAlarm", "Throughput"))) < names.index(
            "LivePage"
        )  # which shows their figures
