"""Training of every family in miniature, to be held against one process.

python -m tests.every_family FOLDER OUTPUT     (starts the second process itself; FOLDER has a pipeline a family)
"""

from __future__ import annotations

import os
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from hypernoise_pl.data.base import PromptDataModule
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.adapter import Adapter
from hypernoise_pl.lora.generator_lora import GeneratorLora
from hypernoise_pl.lora.view import LoraOptions
from hypernoise_pl.module import HyperNoiseModule
from hypernoise_pl.objective import L2Mean, Objective
from hypernoise_pl.types import Prompt
from tests.families import FAMILIES
from tests.families.family import Family
from tests.tiny import Brightness, Redness
from tests.worker import quiet

KINDS: dict[str, type[Adapter]] = {"noise": NoiseHypernetwork, "generator": GeneratorLora}
STEPS = 3


class FamilyPrompts(PromptDataModule):
    def __init__(self, family: Family, batch_size: int) -> None:
        super().__init__(batch_size)
        self.family = family

    def prompts(self, split):
        return [Prompt(text, index=index) for index, text in enumerate(self.family.prompts * 4)]


def make(name: str, folder: Path, kind: type[Adapter] = NoiseHypernetwork, **options: Any) -> HyperNoiseModule:
    """A family's module, its generator's options among those of the module."""
    torch.manual_seed(0)
    family = FAMILIES[name]
    size = {option: options.pop(option) for option in ("dtype", "guidance_scale") if option in options}
    options.setdefault("whiten_gradient", 1.0 if kind is NoiseHypernetwork else None)
    return HyperNoiseModule(
        family.generator(folder, **size),
        {"bright": Brightness(), "red": Redness()},
        {"bright": 1.0, "red": 0.5},
        adapter=partial(kind, lora=LoraOptions(2, 4.0, init="gaussian")),
        objective=options.pop("objective", Objective(L2Mean(), 1.0, 10.0)),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9),
        **options,
    )


def trained(name: str, folder: Path, kind: str, processes: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights before and after three steps of two micro-batches, in float64."""
    method = make(name, folder, KINDS[kind]).double()
    before = {key: weight.detach().clone() for key, weight in method.trainable().items()}
    trainer = L.Trainer(
        max_steps=STEPS,
        accumulate_grad_batches=2,
        gradient_clip_val=1.0,
        limit_val_batches=0,
        enable_checkpointing=False,
        devices=processes,
        strategy="ddp" if processes > 1 else "auto",
        **quiet(),
    )
    trainer.fit(method, datamodule=FamilyPrompts(FAMILIES[name], 2 // processes))
    assert trainer.global_step == STEPS and not method.bad_steps
    return before, {key: weight.detach() for key, weight in method.trainable().items()}


def main(folder: Path, output: Path) -> None:
    found = {f"{name} {kind}": trained(name, folder / name, kind, 2)[1] for name in FAMILIES for kind in KINDS}
    torch.save(found, output / f"rank{os.environ.get('LOCAL_RANK', 0)}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
