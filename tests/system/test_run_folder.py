"""Run folders: one per run, newest checkpoints by content, and default file modes."""

import os
import shutil
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.system.files import lock_folder, new_run, remove_if_empty, set_default_modes, write_tensors
from hypernoise_pl.training.checkpoint_io import (
    AtomicCheckpointIO,
    checkpoint_to_resume,
    newest_checkpoint,
    newest_resumable_run,
    read_checkpoint,
)
from tests.worker import Rings, quiet

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_runs_started_in_the_same_second_have_separate_folders():
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(new_run, ["fit"] * 40))
    assert len(set(folders)) == 40 and all(folder.is_dir() for folder in folders)
    assert {folder.parent for folder in folders} == {Path("runs/fit")}


def test_only_an_empty_run_folder_is_removed():
    empty, used = new_run("test"), new_run("fit")
    (used / "config.yaml").touch()
    remove_if_empty(empty)
    remove_if_empty(used)
    assert not empty.parent.exists() and used.exists()


HOLDS = """
import sys, time
from pathlib import Path
from hypernoise_pl.system.files import lock_folder
with lock_folder(Path("a")):
    print("holds", flush=True)
    time.sleep(60)
"""


def test_folder_lock_lasts_until_the_process_ends_or_is_killed():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen([sys.executable, "-c", HOLDS], env=environment, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None and other.stdout.readline() == "holds\n"
            with (
                pytest.raises(ValueError, match="--output a: another process is running in it; wait"),
                lock_folder(Path("a")),
            ):
                raise AssertionError
            with lock_folder(Path("b")):
                Path("b/summary.json").touch()
        finally:
            other.kill()
    with lock_folder(Path("a")):
        pass
    assert Path("a").is_dir() and Path("b/summary.json").exists()
    with lock_folder(Path("c")):
        assert Path("c").is_dir()
    assert not Path("c").exists()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["fit", "test", "validate", "predict"])
def test_command_refuses_a_locked_folder(command, capsys, monkeypatch):
    from hypernoise_pl.__main__ import main
    from hypernoise_pl.runs.run_folder import OUTPUT_VARIABLE
    from tests.tiny_adapter import save_shapes_adapter

    monkeypatch.delenv(OUTPUT_VARIABLE, raising=False)
    adapter = save_shapes_adapter(Path("adapter"))
    given = {"fit": ["--trainer.max_steps=1"], "predict": ["--prompt=a ring", f"--adapter={adapter}"]}
    with lock_folder(Path("a")):
        assert main([command, "--output=a", *given.get(command, [f"--adapter={adapter}"])]) == 2
    assert "error: --output a: another process is running in it" in capsys.readouterr().err
    assert not list(Path("a").glob("*.json*"))


@pytest.mark.slow
@pytest.mark.parametrize("command", ["test", "validate", "compare"])
def test_results_of_another_run_are_not_overwritten(command, capsys, monkeypatch):
    from hypernoise_pl.__main__ import main
    from hypernoise_pl.runs.run_folder import OUTPUT_VARIABLE
    from tests.tiny_adapter import save_shapes_adapter

    monkeypatch.delenv(OUTPUT_VARIABLE, raising=False)
    adapter = save_shapes_adapter(Path("elsewhere"))
    Path("a").mkdir()
    Path("a/summary.json").write_text("{}")
    assert main([command, "--output=a", f"--adapter={adapter}"]) == 2
    said = capsys.readouterr().err
    assert "a holds another run's summary.json" in said if command == "compare" else "holds a run already (" in said
    assert [file.name for file in Path("a").iterdir()] == ["summary.json"]
    assert Path("a/summary.json").read_text() == "{}"


class Line(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def transfer_batch_to_device(self, batch, device, dataloader_idx):
        return batch

    def training_step(self, batch, batch_idx):
        return self.weight.sum()

    def validation_step(self, batch, batch_idx):
        return None

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def train(folder: Path, steps: int, checkpoint: Path | None = None, counter: bool = True) -> Line:
    keep = ModelCheckpoint(
        folder / "checkpoints", save_last=True, save_top_k=0, every_n_train_steps=1, enable_version_counter=counter
    )
    trainer = L.Trainer(
        max_steps=steps,
        callbacks=[keep],
        default_root_dir=folder,
        plugins=[AtomicCheckpointIO()],
        limit_val_batches=0,
        **quiet(),
    )
    model = Line()
    trainer.fit(model, datamodule=Rings(3), ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    return model


def test_moved_run_resumes_from_its_checkpoint_with_the_most_steps():
    train(Path("a"), 2)
    for steps in (4, 6, 8):
        shutil.move("a", "b")
        shutil.copytree("b", "a")  # a copy: every file has the same age, older ones may come last
        for file in sorted(Path("a/checkpoints").iterdir(), reverse=True):
            os.utime(file, (time.time(), time.time() - ord(file.stem[-1])))
        shutil.rmtree("b")
        file = checkpoint_to_resume("last", Path("a"))
        assert file is not None and read_checkpoint(file)["global_step"] == steps - 2
        train(Path("a"), steps, file)
    newest = newest_checkpoint(Path("a"))
    assert newest is not None and newest[1]["global_step"] == 8
    assert newest[1]["state_dict"]["weight"].item() == pytest.approx(-0.8)  # 8 steps of 0.1, none done twice


def test_of_equal_checkpoints_the_last_written_is_newest_whatever_the_file_times():
    train(Path("a"), 2, counter=False)
    for name, late in (("old", 0), ("new", 100)):
        saved = torch.load("a/checkpoints/last.ckpt", weights_only=True)
        torch.save(saved | {"saved_at": saved["saved_at"] + late}, f"a/{name}.ckpt")
    os.utime("a/new.ckpt", (0, 0))
    newest = newest_checkpoint(Path("a"))
    assert newest is not None and newest[0] == Path("a/new.ckpt")


def test_newest_resumable_run_is_the_one_with_the_last_written_checkpoint():
    for name, late in (("20200101-000000", 100), ("20990101-000000", 0)):
        train(Path("runs/fit") / name, 1)
        file = Path("runs/fit") / name / "checkpoints/last.ckpt"
        saved = torch.load(file, weights_only=True)
        torch.save(saved | {"saved_at": 1e9 + late}, file)
    assert newest_resumable_run() == Path("runs/fit/20200101-000000")


def test_used_folder_refuses_to_start_anew_or_from_an_earlier_step():
    train(Path("a"), 3)
    early = Path("early.ckpt")
    train(Path("b"), 1)
    shutil.move("b/checkpoints/last.ckpt", early)
    with pytest.raises(ConfigError, match="--output a: holds a run already; add --ckpt_path last to continue it from"):
        checkpoint_to_resume(None, Path("a"))
    with pytest.raises(
        ConfigError, match=r"early\.ckpt: is of step 1, but a has a checkpoint of step 3; give another --output"
    ):
        checkpoint_to_resume(str(early), Path("a"))
    assert checkpoint_to_resume(str(early), Path("new")) == early
    assert checkpoint_to_resume("last", Path("a")) == Path("a/checkpoints/last.ckpt")
    assert checkpoint_to_resume(None, Path("new")) is None
    Path("done/adapter").mkdir(parents=True)
    with pytest.raises(ConfigError, match="--output done: holds a run already, without a checkpoint; give another"):
        checkpoint_to_resume(None, Path("done"))
    Path("notes").mkdir()
    Path("notes/notes.txt").touch()
    assert checkpoint_to_resume(None, Path("notes")) is None


def test_written_files_have_the_default_mode(sana_folder):
    from hypernoise_pl.adapters.files import save_adapter
    from hypernoise_pl.adapters.formats import export_peft, export_reference
    from hypernoise_pl.hypernetwork import NoiseHypernetwork
    from hypernoise_pl.lora.view import LoraOptions
    from tests.tiny import sana

    before = os.umask(0o027)
    try:
        generator = sana(sana_folder)
        hypernetwork = NoiseHypernetwork(generator, LoraOptions(2, 4.0))
        save_adapter(hypernetwork, Path("written/own"))
        export_peft(hypernetwork, Path("written/peft"))
        export_reference(hypernetwork, Path("written/reference"))
        write_tensors(Path("written/t.safetensors"), {"t": torch.zeros(2, 3).mT})
        train(Path("written/run"), 1)
        generator.network.save_pretrained("written/network")  # diffusers' own
        set_default_modes(Path("written/network"))
    finally:
        os.umask(before)
    files = [file for file in Path("written").rglob("*") if file.is_file()]
    assert len(files) >= 10
    assert {file: oct(stat.S_IMODE(file.stat().st_mode)) for file in files} == dict.fromkeys(files, oct(0o640))


TORCHRUN = """
import sys
from hypernoise_pl.distributed.launched import new_shared_run
open(f"{sys.argv[1]}/{__import__('os').environ['RANK']}", "w").write(str(new_shared_run("fit")))
"""


def test_torchrun_processes_share_one_new_folder(tmp_path):
    (tmp_path / "script.py").write_text(TORCHRUN)
    (tmp_path / "said").mkdir()
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "script.py", "said"]
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    said = {(tmp_path / "said" / rank).read_text() for rank in "01"}
    (folder,) = said
    assert [str(found) for found in Path("runs/fit").iterdir()] == [folder]


def test_several_processes_without_a_store_need_an_output_folder(monkeypatch):
    from hypernoise_pl.distributed.launched import new_shared_run

    monkeypatch.setenv("SLURM_NTASKS", "2")
    with pytest.raises(ConfigError, match="several processes need a common folder"):
        new_shared_run("fit")


def damaged(kind: str) -> None:
    train(Path("a"), 1)
    data, file = Path("a/checkpoints/last.ckpt").read_bytes(), Path("x.ckpt")
    if kind == "folder":
        file.mkdir()
    elif kind == "adapter weights":
        write_tensors(file, {"t": torch.zeros(2)})
    elif kind == "state dict":
        torch.save({"weight": torch.zeros(2)}, file)
    elif kind == "tensor":
        torch.save(torch.zeros(2), file)
    elif kind == "code":
        torch.save({"path": Path("x")}, file)
    elif kind != "missing":
        cut = {"empty": b"", "truncated": data[: len(data) // 2], "picture": b"\x89PNG\r\n\x1a\n", "text": b"a ring\n"}
        file.write_bytes(cut[kind])


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("missing", "no such file; leave --ckpt_path out to start anew"),
        ("folder", "a folder; pass a checkpoint file: it contains none"),
        ("empty", "empty; pass a .ckpt file that fit wrote"),
        ("truncated", "damaged, or not a checkpoint; pass a .ckpt file that fit wrote"),
        ("picture", "damaged, or not a checkpoint"),
        ("text", "damaged, or not a checkpoint"),
        ("adapter weights", "damaged, or not a checkpoint"),
        ("code", "damaged, or not a checkpoint"),
        ("tensor", "not the checkpoint of a training run, since it has no 'state_dict'"),
        ("state dict", "not the checkpoint of a training run, since it has no 'state_dict'"),
    ],
)
def test_invalid_checkpoint_is_refused_in_one_line_before_the_model_is_built(capsys, kind, what):
    from hypernoise_pl.__main__ import main

    damaged(kind)
    assert main(["fit", "--ckpt_path=x.ckpt", "--output=run"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert f"hypernoise_pl fit: error: checkpoint x.ckpt: {what}" in line
    assert not Path("run").exists()


def test_run_folder_as_checkpoint_gives_an_error_that_names_the_file():
    train(Path("a"), 1)
    with pytest.raises(
        ValueError, match=r"checkpoint a: a folder; pass a checkpoint file: the newest in it is a/checkpoints/"
    ):
        checkpoint_to_resume("a", Path("new"))
