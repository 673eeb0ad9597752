"""``fit --ckpt_path``: a run goes on as it began, says what is otherwise now, and says how to go on after an error."""

import json
import os
import shlex
import time
from pathlib import Path

import pytest

from hypernoise_pl.__main__ import main
from hypernoise_pl.callbacks.missed_validation import MakeUpValidation
from hypernoise_pl.cli.resume import latest_outputs, run_folder_of
from hypernoise_pl.config.flat import changes
from hypernoise_pl.config.loading import read_config
from hypernoise_pl.training.checkpoint_io import newest_checkpoint

pytestmark = pytest.mark.usefixtures("own_folder")

TINY = ["--trainer.limit_val_batches=0", "--data.batch_size=2", "--data.validation=6", "--data.test=6"]
TINY += [
    "--model.reference_search=null",
    "--model.images_per_prompt=1",
    "--trainer.log_every_n_steps=1",
    "--judge=null",
]
TINY += ["--trainer.callbacks.3.every_n_train_steps=1"]  # of ModelCheckpoint


def test_differences_are_named_as_flags_are():
    before = {
        "model": {"class_path": "A", "init_args": {"adapter": {"lora": {"rank": 4}}, "sizes": [1, 2]}},
        "output": "a",
    }
    after = {
        "model": {"class_path": "A", "init_args": {"adapter": {"lora": {"rank": 8}}, "sizes": [1, 2, 3]}},
        "output": "b",
    }
    assert changes(before, before) == ""
    assert changes(before, after) == "model.adapter.lora.rank 8 (was 4), model.sizes [1, 2, 3] (was [1, 2])"
    lists = {"callbacks": [{"class_path": "A"}]}, {"callbacks": [{"class_path": "A"}, {"class_path": "B"}]}
    assert changes(*lists) == "callbacks.1.class_path B (was not there)"
    assert changes({f"k{n}": 0 for n in range(9)}, {f"k{n}": 1 for n in range(9)}).endswith("k5 1 (was 0), 3 more")


def test_the_run_of_a_checkpoint_is_the_folder_with_its_configuration():
    Path("run/checkpoints").mkdir(parents=True)
    Path("run/config.yaml").touch()
    assert (
        run_folder_of("run/checkpoints/last.ckpt", None) == run_folder_of("run/last.ckpt", Path("new")) == Path("run")
    )
    assert run_folder_of("last", Path("run")) == Path("run")
    with pytest.raises(FileNotFoundError, match="no run there has a checkpoint"):
        run_folder_of("last", None)


@pytest.mark.filterwarnings("ignore:resuming at step", "ignore:The dirpath has changed")
def test_a_run_goes_on_with_its_own_configuration(capsys):
    assert main(["fit", *TINY, "--trainer.max_steps=1", "--model.adapter.lora.rank=4", "--output=run"]) == 0
    began = read_config(Path("run/config.yaml"))
    capsys.readouterr()
    assert main(["fit", "--ckpt_path=last", "--output=run", "--trainer.max_steps=2"]) == 0
    assert "fit: this run continues with changes: trainer.max_steps 2 (was 1)\n" in capsys.readouterr().out
    assert json.loads(Path("run/adapter/adapter_config.json").read_text())["r"] == 4
    assert newest_checkpoint(Path("run"))[1]["global_step"] == 2
    now = read_config(Path("run/config.yaml"))
    followed = {"trainer.max_steps 2 (was 1)", "model.lr_scheduler.total_steps 2 (was 1)"}  # the second by ${...}
    assert set(changes(began, now).split(", ")) == followed
    # of a file, into another folder: nothing else differs, and the line is not there
    assert main(["fit", f"--ckpt_path={newest_checkpoint(Path('run'))[0]}", "--output=other"]) == 0
    assert "continues with changes" not in capsys.readouterr().out
    assert changes(now, read_config(Path("other/config.yaml"))).count("run") <= 4  # folders alone
    assert json.loads(Path("other/adapter/adapter_config.json").read_text())["r"] == 4


def test_after_an_error_the_command_that_goes_on_is_said(capsys, monkeypatch):
    callback = "--trainer.callbacks+=tests.signalling.RaiseAt"
    stopped = ["fit", *TINY, "--trainer.max_steps=3", "--model.adapter.lora.rank=4", callback, "--output=run"]
    assert main(stopped) == 1
    *_, error, going_on, page = capsys.readouterr().err.splitlines()
    assert error == "hypernoise_pl fit: error: RuntimeError: out of luck; --verbose shows where"
    assert page == "hypernoise_pl fit: page: run/live.html" and "Stopped by an error: out of luck" in live_page()
    said, command = going_on.split("; to continue: ")
    assert said == "hypernoise_pl fit: step 2 is saved"
    assert command == "python -m hypernoise_pl fit --ckpt_path=last --output=run"
    monkeypatch.setattr("tests.signalling.RaiseAt.on_train_batch_start", lambda *_: None)
    assert main(shlex.split(command)[3:]) == 0
    assert newest_checkpoint(Path("run"))[1]["global_step"] == 3
    assert "Ended, step 3 of 3" in live_page()


def live_page() -> str:
    return Path("run/live.html").read_text()


def test_a_run_that_is_asked_to_stop_names_its_picture_its_page_and_its_adapter(capsys):
    more = [
        "--trainer.limit_val_batches=1",
        "--trainer.val_check_interval=1",
        "--trainer.callbacks.NoiseHealth.images=1",
    ]
    more += ["--trainer.callbacks+=hypernoise_pl.callbacks.adapter_checkpoint.AdapterCheckpoint"]
    more += ["--trainer.callbacks.AdapterCheckpoint.monitor=validation/hypernetwork/reward/weighted"]
    more += ["--trainer.callbacks+=tests.signalling.SignalAt", "--trainer.callbacks.SignalAt.signum=15"]
    more += ["--trainer.callbacks.SignalAt.step=2", "--trainer.max_steps=4", "--output=run"]
    assert main(["fit", *TINY, *more]) == 143
    *_, stopped, picture, page, adapter = capsys.readouterr().err.splitlines()
    assert "stopped by SIGTERM; step 3 is saved; to continue: " in stopped
    names = [line.removeprefix("hypernoise_pl fit: ") for line in (picture, page, adapter)]
    assert names[0].startswith("newest picture: run/images/validation-00000")
    assert names[1:] == ["page: run/live.html", "newest adapter: run/adapter-best"]
    assert all(Path(name.partition(": ")[2]).exists() for name in names)
    assert "Stopped by SIGTERM, step 3 of 4" in live_page() and "location.reload" not in live_page()


def test_newest_outputs_of_a_stopped_run_are_found():
    assert latest_outputs(Path("run"), 0) == {}
    Path("run/images").mkdir(parents=True)
    for age, name in enumerate(("live.html", "images/validation-000010.png", "images/validation-000002.png")):
        Path("run", name).touch()
        os.utime(Path("run", name), (0, time.time() - age))
    assert latest_outputs(Path("run"), time.time() + 60) == {}  # of another run
    assert latest_outputs(Path("run"), time.time() - 60) == {
        "newest picture": Path("run/images/validation-000010.png"),
        "page": Path("run/live.html"),
    }
    for number, name in enumerate(("adapter-best", "adapter")):
        file = Path("run", name, "adapter_model.safetensors")
        file.parent.mkdir()
        file.touch()
        os.utime(file, (0, 10 + number))
    assert latest_outputs(Path("run"), 0)["newest adapter"] == Path("run/adapter")


def test_an_adapter_in_a_checkpoints_place_is_recognised(capsys):
    assert main(["fit", *TINY, "--trainer.max_steps=1", "--output=run"]) == 0
    capsys.readouterr()
    assert main(["fit", "--ckpt_path=run/adapter", "--output=new"]) == 2
    said = capsys.readouterr().err
    assert (
        "checkpoint run/adapter: an adapter; measure it with `test --adapter run/adapter`, or resume its run with"
        in said
    )
    assert f"--ckpt_path {newest_checkpoint(Path('run'))[0]}" in said


@pytest.mark.filterwarnings("ignore:resuming at step", "ignore:The dirpath has changed")
@pytest.mark.parametrize("stopped", [2, 4], ids=["under way", "at the last step"])
def test_a_validation_that_a_stop_came_before_is_made_up_for(stopped, tmp_path, monkeypatch):
    flags = [flag for flag in TINY if "limit_val_batches" not in flag]
    flags += ["--trainer.max_steps=4", "--trainer.val_check_interval=2", "--output=run"]
    signal = ["--trainer.callbacks+=tests.signalling.SignalAt", "--trainer.callbacks.SignalAt.signum=15"]
    assert main(["fit", *flags, *signal, f"--trainer.callbacks.SignalAt.step={stopped - 1}"]) == 143
    assert newest_checkpoint(Path("run"))[1]["global_step"] == stopped
    assert validated(Path("run")) == list(range(2, stopped, 2))
    seen = []
    monkeypatch.setattr(MakeUpValidation, "on_validation_end", _noted(MakeUpValidation.on_validation_end, seen))
    plain = Path("plain.yaml")
    plain.write_text(
        Path("run/config.yaml").read_text().replace("signum: 15", "signum: 0")
    )  # 0 asks nothing of a process
    assert main(["fit", "--ckpt_path=last", "--output=run", "--config=plain.yaml"]) == 0
    assert seen == list(range(stopped, 5, 2))  # each once


def validated(folder: Path) -> list[int]:
    rows = map(json.loads, (folder / "history.jsonl").read_text().splitlines())
    return [row["step"] for row in rows if row["split"] == "validation"]


def _noted(method, seen: list[int]):
    def note(self, trainer, module):
        seen.append(trainer.global_step)
        method(self, trainer, module)

    return note
