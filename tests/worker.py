"""Training runs in processes of their own: one that may be killed at any moment, and one on two processes.

python -m tests.worker SANA_FOLDER OUTPUT until_killed
python -m tests.worker SANA_FOLDER OUTPUT two_processes
"""

from __future__ import annotations

import math
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from hypernoise_pl.data.base import PromptDataModule
from hypernoise_pl.lora.view import LoraOptions
from hypernoise_pl.module import HyperNoiseModule
from hypernoise_pl.noise import IndependentNoise, NoiseSource, SharedNoise
from hypernoise_pl.objective import L2Mean, Objective
from hypernoise_pl.training.schedules import WarmupCosine
from hypernoise_pl.training.step_guard import NonFiniteError
from hypernoise_pl.types import Prompt
from tests.tiny import Brightness, module

STEPS = 12
COLOURS = ["red", "green", "blue", "white", "yellow", "orange", "purple", "pink", "brown", "cyan", "grey"]


class Rings(PromptDataModule):
    def prompts(self, split):
        count = len(COLOURS) if split == "train" else 2
        return [Prompt(f"a {colour} ring", index=index) for index, colour in enumerate(COLOURS[:count])]


class NeverGreen(Brightness):
    """Infinite for one prompt, so that only the process that has it sees a bad loss."""

    score_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def _score(self, images: Tensor, prompts: list[str]) -> Tensor:
        bad = torch.tensor([math.inf if "green" in prompt else 0.0 for prompt in prompts])
        return super()._score(images, prompts) + bad


class Losses(L.Callback):
    """Writes each micro-step's loss, bit for bit, as it is made."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        with self.file.open("a") as file:
            file.write(f"{trainer.global_step} {[p.index for p in batch]} {float(outputs['loss']).hex()}\n")


class Killed(L.Callback):
    """The end without a warning, while gradients of a step's first half are waiting for those of its second."""

    def on_after_backward(self, trainer, pl_module):
        if trainer.global_step == 8:
            os.kill(os.getpid(), signal.SIGKILL)


def train(sana: Path, output: Path, checkpoint: Path | None = None, *others: L.Callback) -> HyperNoiseModule:
    """A run with everything that could break exactness: momentum, schedule, accumulation, validation between."""
    torch.set_num_threads(1)
    keep = ModelCheckpoint(output, save_last=True, save_top_k=0, every_n_train_steps=3)
    trainer = L.Trainer(
        max_steps=STEPS,
        accumulate_grad_batches=2,
        gradient_clip_val=1.0,
        val_check_interval=4,
        check_val_every_n_epoch=None,
        callbacks=[keep, Losses(output / "losses.txt"), *others],
        default_root_dir=output,
        **quiet(),
    )
    method = module(
        sana,
        lora=LoraOptions(4, 8.0),
        objective=Objective(L2Mean(), 1.0, 10.0),
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=0.01),
        lr_scheduler=lambda optimizer: WarmupCosine(optimizer, 3, STEPS),
        images_per_prompt=1,
        steps=2,
    )
    trainer.fit(method, datamodule=Rings(2, 2), ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    return method


def quiet() -> dict[str, object]:
    return {
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,
    }


def fitted(method: HyperNoiseModule, processes: int, accumulate: int = 1) -> dict[str, Tensor]:
    """Four steps of four prompts, however many processes there are; what is logged of the last one."""
    strategy = "ddp" if processes > 1 else "auto"
    trainer = L.Trainer(
        max_steps=4,
        limit_val_batches=0,
        enable_checkpointing=False,
        devices=processes,
        strategy=strategy,
        log_every_n_steps=2,
        accumulate_grad_batches=accumulate,
        **quiet(),
    )
    trainer.fit(method, datamodule=Rings(4 // processes // accumulate))
    return {name: value for name, value in trainer.logged_metrics.items() if name != "speed/images_per_second"}


def runs(
    sana: Path, processes: int
) -> tuple[dict[str, tuple[int, dict[str, Tensor]]], str, dict[str, dict[str, Tensor]]]:
    """What training in several settings comes to.

    Returns:
        Name of a setting -> steps skipped and the weights after four steps; what stopped a further run; and name of a
        setting -> what was logged of the last step.
    """
    torch.set_num_threads(1)
    settings: dict[str, tuple[NoiseSource, type[Brightness], dict[str, Any]]] = {
        "independent": (IndependentNoise(), Brightness, {}),
        "shared_checkpointed": (SharedNoise(), Brightness, {"checkpoint_activations": True}),
        "whitened": (IndependentNoise(), Brightness, {"whiten_gradient": 1.0}),
        "accumulated": (IndependentNoise(), Brightness, {}),
        "bad_in_one_process": (IndependentNoise(), NeverGreen, {}),
    }
    found, stopped, logged = {}, "", {}
    for name, (noise, reward, options) in settings.items():
        method = module(
            sana,
            rewards={"bright": reward()},
            reward_weights={"bright": 1.0},
            lora=LoraOptions(4, 8.0),
            objective=Objective(L2Mean(), 1.0, 10.0),
            noise=noise,
            optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
            **options,
        ).double()
        logged[name] = fitted(method, processes, accumulate=2 if name == "accumulated" else 1)
        found[name] = (method.bad_steps, {k: p.detach().clone() for k, p in method.trainable().items()})
    method.max_bad_steps = 0  # the last setting once more: what is bad in one process now stops both
    try:
        fitted(method, processes)
    except NonFiniteError as error:
        stopped = str(error)
    return found, stopped, logged


if __name__ == "__main__":
    sana_folder, output_folder, kind = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    warnings.simplefilter("ignore")
    if kind == "until_killed":
        train(sana_folder, output_folder, None, Killed())
    else:
        result = runs(sana_folder, 2)
        torch.save(result, output_folder / f"rank{os.environ.get('LOCAL_RANK', 0)}.pt")
