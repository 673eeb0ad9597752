"""Presets of conf/debug and conf/logger do what they say, over the default recipe and, merged, over every other one."""

import csv
import json
from pathlib import Path

import pytest
import yaml
from PIL import Image

from hypernoise_pl.__main__ import main
from hypernoise_pl.cli.command_config import merge_command
from hypernoise_pl.config.files import conf_folder
from hypernoise_pl.config.options import Options
from hypernoise_pl.training.checkpoint_io import read_checkpoint
from tests import seen
from tests.wandb_files import start_here, whole_run

PRESETS = [f"{kind}/{path.stem}" for kind in ("debug", "logger") for path in sorted((conf_folder() / kind).glob("*"))]
RECIPES = ["shapes_long", "sd_turbo", "sana_sprint", "flux_schnell", "sdxl_turbo", "pixart_dmd", "rewards/redness"]
SEEN = "--trainer.callbacks+=tests.seen.Seen"
SMALL = ["--data.batch_size=4", "--model.images_per_prompt=1", "--model.adapter.lora.rank=4"]
FEW = [*SMALL, "--trainer.max_steps=3", "--trainer.log_every_n_steps=1", "--trainer.limit_val_batches=0"]
FEW += ["--data.test=6", "--model.reference_search=null"]

pytestmark = pytest.mark.usefixtures("own_folder")


def ran(capsys, *arguments: str) -> str:
    """What a run of ``fit`` prints."""
    assert main(["fit", *arguments]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def the_run(kind: str) -> Path:
    (folder,) = Path("runs", kind).iterdir()
    return folder


def files(folder: Path, pattern: str) -> list[Path]:
    return [path for path in folder.rglob(pattern) if path.is_file()]


def overfit(capsys, monkeypatch) -> None:
    few = [*SMALL[1:], "--trainer.max_steps=4", "--trainer.val_check_interval=2"]
    shown = ran(capsys, "--config=debug/overfit", *few, SEEN)
    (prompts,) = {tuple(sorted(texts)) for texts in seen.of("train")}  # one batch, and
    assert len(seen.of("train")) == 4 and len(prompts) == 8
    for split in ("validation", "test"):  # it is what is measured
        assert {text for batch in seen.of(split) for text in batch} == set(prompts)
    summary = json.loads((the_run("debug") / "summary.json").read_text())
    assert summary["prompts"] == 8 and "reference" not in summary["methods"] and "--prompt" in shown
    assert not Path("runs/fit").exists()


def limit(capsys, monkeypatch) -> None:
    ran(capsys, "--config=debug/limit", *SMALL, SEEN, "--model.reference_search.iterations=2")
    assert [len(seen.of(split)) for split in ("train", "validation", "test")] == [8, 4, 2]
    folder = the_run("debug")
    assert read_checkpoint(folder / "checkpoints" / "last.ckpt")["global_step"] == 4
    names = {path.name for path in (folder / "images").iterdir()}
    assert names == {"validation-000002.png", "validation-000004.png", "test-000004.png"}
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["prompts"] == 8 and set(summary["methods"]) == {"base", "hypernetwork", "reference"}
    assert summary["methods"]["base"]["judge"] and files(folder, "*tfevents*")


def profile(capsys, monkeypatch) -> None:
    shown = ran(capsys, "--config=debug/profile", *SMALL)
    folder = the_run("debug") / "profile"
    assert f"profile      {folder}\n" in shown
    trace = json.loads((folder / "trace.json").read_text())
    steps = [event["name"] for event in trace["traceEvents"] if event.get("name", "").startswith("ProfilerStep#")]
    assert len(set(steps)) == 3
    assert any("training_step" in event.get("name", "") for event in trace["traceEvents"])
    assert "aten::mm" in (folder / "fit-operators.txt").read_text()
    assert sorted(path.name for path in folder.iterdir()) == ["fit-operators.txt", "trace.json"]
    assert [path for path in Path().rglob("*.json") if path.name == "trace.json"] == [folder / "trace.json"]
    assert [str(path) for path in Path().iterdir()] == ["runs"]


def tensorboard(capsys, monkeypatch) -> None:
    shown = ran(capsys, "--config=logger/csv", "--config=logger/tensorboard", *FEW)
    folder = the_run("fit")
    assert f"tensorboard --logdir {folder}" in shown
    assert files(folder, "*tfevents*") and not files(folder, "metrics.csv")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder)).Reload().Tags()
    groups = {name.partition("/")[0] for name in found["scalars"]}
    assert groups == {"train", "noise", "speed", "memory", "test", "final", "epoch"}  # FEW has no validation
    assert "configuration/text_summary" in found["tensors"]


def table(capsys, monkeypatch) -> None:
    shown = ran(capsys, "--config=logger/csv", *FEW)
    folder = the_run("fit")
    assert f"metrics      {folder / 'metrics.csv'}" in shown
    with (folder / "metrics.csv").open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert [row["step"] for row in rows if row["train/reward"]] == ["0", "1", "2"]
    assert sum(bool(row["test/base/reward/weighted"]) for row in rows) == 1
    assert not files(folder, "*tfevents*")


def none(capsys, monkeypatch) -> None:
    shown = ran(capsys, "--config=logger/none", *FEW)
    folder = the_run("fit")
    last = shown[shown.index("\nadapter ") :].split("\n")
    assert [line.partition(" ")[0] for line in last if line] == ["adapter", "summary", "picture", "page", "next"]
    logs = ("*tfevents*", "metrics.csv", "hparams.yaml", "*.wandb")
    assert not [path for pattern in logs for path in files(folder, pattern)]


def wandb(capsys, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    start_here()
    often = "--trainer.callbacks.ModelCheckpoint.every_n_train_steps=1"
    few = ["--config=logger/wandb", *FEW, often, "--output=run"]
    ran(capsys, *few)
    shown = ran(capsys, *few, "--ckpt_path=last", "--trainer.max_steps=5")
    (line,) = [line for line in shown.splitlines() if line.startswith("W&B ")]
    folders = [Path(word) for word in line.split()[3:]]
    assert len(folders) == 2 and folders == sorted(Path("run/wandb").glob("offline-run-*"))
    ids, steps = set(), []
    for folder, last in zip(folders, (3, 5)):
        found = whole_run(folder)
        ids |= {(record.run.run_id, record.run.project) for record in found if record.HasField("run")}
        config = {item.key: json.loads(item.value_json) for record in found for item in record.config.update}
        assert config["model"]["init_args"]["lr_scheduler"]["init_args"]["total_steps"] == last  # no ${...}
        assert config["output"] == "run" and config["model"]["init_args"]["adapter"]["init_args"]["lora"]["rank"] == 4
        rows = [{i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in r.history.item} for r in found]
        steps += [row["trainer/global_step"] for row in rows if "train/reward" in row]
        (picture,) = [name for row in rows for name in row.get("test/images/filenames", [])]
        with Image.open(folder / "files" / picture) as opened:
            assert opened.size[0] > 100
        assert sum("test/base/reward/weighted" in row for row in rows) == 1
    assert len(ids) == 1 and {project for _, project in ids} == {"hypernoise_pl"}
    assert steps == [0, 1, 2, 3, 4]


CHECKS = {
    "debug/overfit": overfit,
    "debug/limit": limit,
    "debug/profile": profile,
    "logger/tensorboard": tensorboard,
    "logger/csv": table,
    "logger/none": none,
    "logger/wandb": wandb,
}


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.filterwarnings("ignore:Experiment logs directory", "ignore:resuming at step")
def test_a_preset_does_what_it_says(preset, capsys, monkeypatch):
    assert preset in CHECKS, f"conf/{preset}: enter what its run must show in CHECKS of tests/config/test_presets.py"
    CHECKS[preset](capsys, monkeypatch)


def merged(*names: str) -> dict:
    return merge_command("fit", Options(config=[*names]), []).config


def plain(config: dict) -> dict:
    return {
        f"{root}.{key}": value for root in ("model", "data") for key, value in config[root]["init_args"].items()
    } | {f"trainer.{key}": value for key, value in config["trainer"].items()}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_over_a_recipe_changes_what_it_names_and_nothing_else(preset, recipe, capsys):
    loaded = yaml.safe_load((conf_folder() / f"{preset}.yaml").read_text())
    own = {f"trainer.{key}" for key in loaded["trainer"]}
    own |= {
        f"{root}.{key}" for root in ("model", "data") for key in (loaded.get(root) or {"init_args": {}})["init_args"]
    }
    before, after = plain(merged(recipe)), plain(merged(recipe, preset))
    assert {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)} <= own
    kept = [callback["class_path"] for callback in before["trainer.callbacks"]]
    assert [callback["class_path"] for callback in after["trainer.callbacks"]] == kept
    assert main(["fit", "--config", recipe, "--config", preset, "--print_config"]) == 0, capsys.readouterr().err
    if preset.startswith("logger/"):  # no recipe names a logger: before or after it
        assert merged(preset, recipe) == merged(recipe, preset)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:resuming at step")
def test_the_adapter_of_a_trial_is_not_the_newest_but_a_trial_goes_on(capsys):
    quick = ["--config=debug/limit", *SMALL, "--model.reference_search=null", "--trainer.limit_test_batches=0"]
    ran(capsys, *quick, "--trainer.max_steps=2")
    assert main(["test"]) == 2
    assert "runs/fit: no run with adapter" in capsys.readouterr().err
    ran(capsys, *quick, "--ckpt_path=last")
    assert read_checkpoint(the_run("debug") / "checkpoints" / "last.ckpt")["global_step"] == 4
