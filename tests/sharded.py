"""Training with a network that is spread over processes, to be held against one process.

python -m tests.sharded SANA_FOLDER FLUX_FOLDER OUTPUT     (starts the second process itself)
"""

from __future__ import annotations

import os
import sys
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from hypernoise_pl.adapters.files import save_adapter
from hypernoise_pl.distributed.fsdp import gather
from hypernoise_pl.distributed.strategy import FsdpStrategy
from hypernoise_pl.generators.flux import Flux
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.generator_lora import GeneratorLora
from hypernoise_pl.lora.view import LoraOptions
from hypernoise_pl.module import HyperNoiseModule
from hypernoise_pl.noise import gaussian
from hypernoise_pl.objective import L2Mean, Objective
from hypernoise_pl.training.schedules import WarmupCosine
from hypernoise_pl.training.step_guard import NonFiniteError
from tests.tiny import DOUBLE, Brightness, sana
from tests.worker import NeverGreen, Rings, quiet

STEPS, HALF = 6, 3
TEXTS = ["a red ring", "a blue ring"]


@dataclass(frozen=True)
class Setting:
    """What is trained, and how."""

    family: str = "sana"
    kind: Any = NoiseHypernetwork
    checkpointing: bool = False
    reward: type[Brightness] = Brightness
    clip: float | None = None
    accumulate: int = 1
    whiten: float | None = None
    half: bool = False
    tolerance: float = DOUBLE


SETTINGS = {
    "plain": Setting(),
    "checkpointed": Setting(checkpointing=True),
    "clipped_accumulated": Setting(clip=0.01, accumulate=2),
    "whitened": Setting(whiten=1.0, accumulate=2),
    "fine_tuned": Setting(kind=GeneratorLora, checkpointing=True),
    "flux_checkpointed": Setting(family="flux", checkpointing=True),
    "flux_half": Setting("flux", checkpointing=True, half=True, tolerance=0.05),
    "bad_in_one_process": Setting(reward=NeverGreen),
}


def make(folders: dict[str, Path], setting: Setting, optimizer: Any, schedule: Any = None) -> HyperNoiseModule:
    torch.manual_seed(0)
    folder = folders[setting.family]
    flux = setting.family == "flux"
    dtype = "bfloat16" if setting.half else "float32"
    sizes: dict[str, Any] = {"max_sequence_length": 20, "height": 16, "width": 16}
    generator = Flux(str(folder), dtype=dtype, **sizes) if flux else sana(folder, dtype=dtype)
    method = HyperNoiseModule(
        generator,
        {"bright": setting.reward()},
        {"bright": 1.0},
        adapter=partial(setting.kind, lora=LoraOptions(4, 8.0)),
        objective=Objective(L2Mean(), 1.0, 10.0),
        optimizer=optimizer,
        lr_scheduler=schedule,
        whiten_gradient=setting.whiten,
        checkpoint_activations=setting.checkpointing,
        images_per_prompt=1,
    )
    return method if setting.half else method.double()


def momentum(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=0.01, eps=1e-3)  # so large that rounding of tiny gradients stays tiny


def warmed(optimizer: Any) -> WarmupCosine:
    return WarmupCosine(optimizer, 2, STEPS)


def trainer(processes: int, steps: int, **options: Any) -> L.Trainer:
    return L.Trainer(
        max_steps=steps,
        enable_checkpointing=False,
        devices=processes,
        strategy=FsdpStrategy() if processes > 1 else "auto",
        inference_mode=False,
        **quiet(),
        **options,
    )


def weights(method: HyperNoiseModule) -> dict[str, Tensor]:
    return {name: gather(weight.detach()).clone() for name, weight in method.trainable().items()}


def in_settings(folders: dict[str, Path], processes: int) -> tuple[dict[str, tuple[int, dict[str, Tensor]]], str]:
    """Name of a setting -> steps skipped and the weights after three steps; and what stopped a further run."""
    found, stopped = {}, ""
    for name, setting in SETTINGS.items():
        method = make(folders, setting, momentum)
        options: dict[str, Any] = {"gradient_clip_val": setting.clip, "accumulate_grad_batches": setting.accumulate}
        options["precision"] = "bf16-mixed" if setting.half else "32-true"
        fit = trainer(processes, 3, limit_val_batches=0, **options)
        fit.fit(method, datamodule=Rings(4 // processes))
        found[name] = (method.bad_steps, weights(method))
    method.max_bad_steps = 0  # the last setting once more: what is bad in one process now stops both
    try:
        trainer(processes, 4, limit_val_batches=0).fit(method, datamodule=Rings(4 // processes))
    except NonFiniteError as error:
        stopped = str(error)
    return found, stopped


def train(
    folders: dict[str, Path], processes: int, steps: int, saved: Path | None = None, begun: Path | None = None
) -> HyperNoiseModule:
    """Train with all that a checkpoint must keep, validating in between; from a checkpoint, and to one."""
    method = make(folders, SETTINGS["checkpointed"], adam, warmed)
    fit = trainer(processes, steps, accumulate_grad_batches=2, val_check_interval=2, check_val_every_n_epoch=None)
    data = Rings(4 // processes, 4 // processes)
    fit.fit(method, datamodule=data, ckpt_path=begun, weights_only=True if begun else None)
    if saved is not None:
        fit.save_checkpoint(saved)
    return method


@torch.no_grad()
def residual(method: HyperNoiseModule) -> Tensor:
    noise = gaussian(method.generator.noise_shape, [1, 2]).double()
    return method.adapter(noise, method.conditioning(TEXTS))


def held(method: HyperNoiseModule) -> float:
    """Share of the network's elements that lie in this process."""
    frozen = list(method.generator.network.parameters())
    here = sum((p.to_local() if isinstance(p, DTensor) else p).numel() for p in frozen)
    return here / sum(p.numel() for p in frozen)


def main(folders: dict[str, Path], output: Path) -> None:
    """All that two processes do; each writes what it has found."""
    found: dict[str, Any] = {"settings": in_settings(folders, 2)}
    half = train(folders, 2, HALF, saved=output / "sharded.ckpt")
    found["held"], found["half"] = held(half), weights(half)
    method = train(folders, 2, STEPS)
    found["whole"] = weights(method)
    found["residual"] = residual(method)
    rank = int(os.environ.get("LOCAL_RANK", 0))
    save_adapter(method.adapter, output / "adapter", writes=rank == 0)
    for name in ("sharded", "single"):
        found[f"from_{name}"] = weights(train(folders, 2, STEPS, begun=output / f"{name}.ckpt"))
    torch.save(found, output / f"rank{rank}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    main({"sana": Path(sys.argv[1]), "flux": Path(sys.argv[2])}, Path(sys.argv[3]))
