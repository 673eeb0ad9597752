"""A killed and resumed run equals the uninterrupted run."""

import signal
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from hypernoise_pl.types import Prompt
from tests.worker import Rings, quiet, train

ROOT = Path(__file__).parents[2]


def lines(folder: Path) -> list[str]:
    return (folder / "losses.txt").read_text().splitlines()


def train_until_killed(folder: Path, sana: Path) -> None:
    """Train in a separate process that is killed by SIGKILL between two micro-steps of a step."""
    command = [sys.executable, "-m", "tests.worker", str(sana), str(folder), "until_killed"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr


@pytest.mark.slow
def test_losses_after_sigkill_equal_an_uninterrupted_run_bit_for_bit(sana_folder, tmp_path):
    threads = torch.get_num_threads()
    try:
        (tmp_path / "whole").mkdir()
        whole = train(sana_folder, tmp_path / "whole")
        (tmp_path / "killed").mkdir()
        train_until_killed(tmp_path / "killed", sana_folder)
        saved = torch.load(tmp_path / "killed" / "last.ckpt", weights_only=True)["global_step"]
        assert saved == 6 < int(lines(tmp_path / "killed")[-1].split()[0])  # the run went beyond its last checkpoint
        (tmp_path / "killed" / "losses.txt").unlink()
        resumed = train(sana_folder, tmp_path / "killed", tmp_path / "killed" / "last.ckpt")
    finally:
        torch.set_num_threads(threads)
    expected = lines(tmp_path / "whole")
    assert len(expected) == 24 == len(set(expected))  # 12 steps of 2 batches
    done = [int(line.split()[0]) for line in expected].index(saved) + 1
    assert lines(tmp_path / "killed") == expected[done:]
    for name, weight in whole.trainable().items():
        assert torch.equal(weight, resumed.trainable()[name])


class Seen(L.LightningModule):
    """Records the prompts of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[int, list[int]]] = []

    def transfer_batch_to_device(self, batch, device, dataloader_idx):
        return batch

    def training_step(self, batch: list[Prompt], batch_idx):
        self.seen.append((self.global_step, [prompt.index for prompt in batch]))
        return self.weight.sum()

    def validation_step(self, batch, batch_idx):
        return None

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize("length", [{"max_steps": 11}, {"max_epochs": 4}])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_prompt_stream_resumes_from_any_step(tmp_path, length, accumulate):
    def run(checkpoint: Path | None = None) -> list[tuple[int, list[int]]]:
        keep = ModelCheckpoint(tmp_path, save_top_k=-1, every_n_train_steps=1, filename="{step}")
        trainer = L.Trainer(
            callbacks=[keep],
            accumulate_grad_batches=accumulate,
            limit_val_batches=0,
            default_root_dir=tmp_path,
            **length,
            **quiet(),
        )
        model = Seen()
        trainer.fit(model, datamodule=Rings(3), ckpt_path=checkpoint)  # 11 prompts: 3 batches an epoch
        return model.seen

    whole = run()
    steps = whole[-1][0] + 1
    assert steps == (11 if "max_steps" in length else 4 * (3 if accumulate == 1 else 1))
    assert all(len([entry for entry in whole if entry[0] == step]) == accumulate for step in range(steps))
    for step in range(1, steps):
        resumed = run(tmp_path / f"step={step}.ckpt")
        assert resumed == [entry for entry in whole if entry[0] >= step], f"resumed at step {step}"
