"""Logs resume with their run, contain its pictures and are printed at its end; with the real logger packages."""

import csv
from pathlib import Path

import lightning as L
import pytest
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image

from hypernoise_pl.callbacks.remember_logs import RememberLogs
from hypernoise_pl.training.checkpoint_io import read_checkpoint
from hypernoise_pl.training.loggers import log_config, log_location, log_picture, log_summary, resume_logs
from tests.system.test_run_folder import Line
from tests.wandb_files import whole_run
from tests.worker import Rings, quiet


class Logged(Line):
    def __init__(self, more: bool = False) -> None:
        super().__init__()
        self.more = more

    def training_step(self, batch, batch_idx):
        self.log("train/loss", float(self.global_step), batch_size=1)
        if self.more:
            self.log("train/another", 1.0, batch_size=1)
        return self.weight.sum()


def train(folder: Path, logger, steps: int, checkpoint: Path | None = None) -> None:
    keep = ModelCheckpoint(folder, save_top_k=-1, every_n_train_steps=2, filename="{step}")
    options = quiet() | {"logger": logger}
    trainer = L.Trainer(
        max_steps=steps,
        callbacks=[keep, RememberLogs()],
        default_root_dir=folder,
        log_every_n_steps=1,
        limit_val_batches=0,
        **options,
    )
    if checkpoint is not None:
        resume_logs(trainer.loggers, read_checkpoint(checkpoint))
    model = Logged(more=checkpoint is not None)
    trainer.fit(model, datamodule=Rings(3), ckpt_path=checkpoint, weights_only=True if checkpoint else None)


@pytest.mark.filterwarnings("ignore:Experiment logs directory")
def test_csv_log_keeps_rows_before_the_checkpoint_and_continues(tmp_path):
    def logger() -> CSVLogger:
        return CSVLogger(str(tmp_path / "run"), name="", version="", flush_logs_every_n_steps=1)

    train(tmp_path / "run", logger(), 5)  # as if killed after step 5: the checkpoint is of step 4
    again = logger()
    train(tmp_path / "run", again, 8, tmp_path / "run" / "step=4.ckpt")
    file = tmp_path / "run" / "metrics.csv"
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    losses = [(int(row["step"]), float(row["train/loss"])) for row in rows if row["train/loss"]]
    # step 4, counted from 0, is the first after the checkpoint: both runs did it
    assert losses == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0), (4, 4.0), (5, 5.0), (6, 6.0), (7, 7.0)]
    assert [row["train/another"] for row in rows if row["train/loss"]] == [""] * 5 + ["1.0"] * 4
    assert log_location(again) == ("metrics", str(file))
    assert not list((tmp_path / "run").glob(".metrics*"))


def test_resumed_wandb_run_keeps_its_id_and_logs_pictures(tmp_path, monkeypatch):
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    monkeypatch.setenv("WANDB_SILENT", "true")
    ids = []
    for steps, checkpoint in ((2, None), (4, tmp_path / "step=2.ckpt")):
        logger = WandbLogger(save_dir=str(tmp_path), offline=True)
        train(tmp_path, logger, steps, checkpoint)
        log_picture(logger, "test/images", Image.new("RGB", (8, 8), "red"), steps)
        ids.append(logger.experiment.id)
        name, place = log_location(logger)
        assert name == "W&B" and place.startswith("wandb sync ")
        *before, folder = map(Path, place.split()[2:])
        assert len(before) == len(ids) - 1  # the files of the resumed run are sent too
        wandb.finish()
        assert whole_run(folder) and list(folder.glob("files/media/images/test/images_*.png"))
    assert ids[0] == ids[1]


def test_tensorboard_logs_pictures_and_its_location_is_printed(tmp_path):
    logger = TensorBoardLogger(str(tmp_path), name="", version="")
    log_picture(logger, "test/images", Image.new("RGB", (8, 8), "red"), 3)
    logger.finalize("success")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(tmp_path)).Reload()
    assert found.Tags()["images"] == ["test/images"] and found.Images("test/images")[0].step == 3
    assert log_location(logger) == ("TensorBoard", f"tensorboard --logdir {logger.log_dir}")


def test_tensorboard_logs_the_configuration_and_hyper_parameters_with_final_figures(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    from hypernoise_pl.cli.command_config import merge_command
    from hypernoise_pl.config.interpolation import resolve, to_omegaconf
    from hypernoise_pl.config.options import Options

    flags = ["--model.adapter.lora.rank=8", "--model.optimizer.lr=0.002", "--trainer.max_steps=7"]
    config = resolve(to_omegaconf(merge_command("fit", Options(), flags).config))
    logger = TensorBoardLogger(str(tmp_path), name="", version="")
    log_config([logger], config)
    trained = {"weighted_reward": 6.5, "diversity": None, "gain": 0.25, "win_rate": 0.75}
    summary = {"methods": {"hypernetwork": trained}, "gain_by": "judge", "fit": {"seconds": 3.0}}
    log_summary([logger, CSVLogger(str(tmp_path))], config, summary, 7)
    logger.finalize("success")
    found = EventAccumulator(str(tmp_path)).Reload()
    (text,) = found.Tensors("configuration/text_summary")
    said = text.tensor_proto.string_val[0].decode()
    assert "      lora:\n" in said and "rank: 8\n" in said and "${" not in said
    final = {name: found.Scalars(f"final/{name}")[0] for name in ("gain", "reward", "win_rate", "fit_seconds")}
    assert {name: (event.step, event.value) for name, event in final.items()} == {
        "gain": (7, 0.25), "reward": (7, 6.5), "win_rate": (7, 0.75), "fit_seconds": (7, 3.0)
    }  # fmt: skip
    assert "final/diversity" not in found.Tags()["scalars"]
    content = found.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    row = HParamsPluginData.FromString(content).session_start_info.hparams
    numbers = {name: value.number_value for name, value in row.items()}
    assert numbers["model.adapter.lora.rank"] == 8 and numbers["model.optimizer.lr"] == 0.002
    assert numbers["trainer.max_steps"] == numbers["model.lr_scheduler.total_steps"] == 7
    assert numbers["model.reward_weights.clip"] == 0.2 and numbers["model.objective.reward_scale"] == 50
    assert numbers["data.batch_size"] == 64
    texts = {name: value.string_value for name, value in row.items()}
    assert texts["model"] == "HyperNoiseModule" and texts["model.optimizer"] == "AdamW"
    assert not any(name.startswith(("model.rewards.", "trainer.callbacks", "output")) for name in row)


@pytest.mark.slow
@pytest.mark.parametrize("loggers", ["csv", "both", "none"])
def test_fit_prints_the_locations_of_its_logs(tmp_path, monkeypatch, capsys, loggers):
    from hypernoise_pl.__main__ import main
    from tests.system.test_signals import SHORT

    monkeypatch.chdir(tmp_path)
    table = "{class_path: lightning.pytorch.loggers.CSVLogger, init_args: {save_dir: run, name: '', version: ''}}"
    board = "{class_path: lightning.pytorch.loggers.TensorBoardLogger, init_args: {save_dir: run, name: tb}}"
    listed = {"csv": table, "both": f"[{table}, {board}]", "none": "false"}[loggers]
    (tmp_path / "l.yaml").write_text(f"trainer: {{max_steps: 1, logger: {listed}}}\n")
    assert main(["fit", *SHORT, "--config=l.yaml", "--output=run", "--trainer.max_steps=1"]) == 0
    shown = capsys.readouterr().out
    assert ("metrics      run/metrics.csv" in shown) == (loggers != "none")
    assert ("tensorboard --logdir run/tb/version_0" in shown) == (loggers == "both")
    assert ("ensor" in shown.replace("safetensors", "")) == (loggers == "both")
