"""Every optimiser step has all its micro-batches; the end of an epoch does not affect the weights."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler

from hypernoise_pl.data.base import PromptDataModule
from hypernoise_pl.lora.view import LoraOptions
from hypernoise_pl.objective import L2Mean, Objective
from hypernoise_pl.types import Prompt
from tests.tiny import DOUBLE, module
from tests.worker import quiet


class Fourteen(PromptDataModule):
    def prompts(self, split):
        return [Prompt(f"{number} rings", index=number) for number in range(14)]


def trained(folder, batch_size: int, accumulate: int, steps: int, **options):
    method = module(
        folder,
        lora=LoraOptions(4, 8.0),
        objective=Objective(L2Mean(), 1.0, 10.0),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    ).double()
    options = quiet() | {"accumulate_grad_batches": accumulate, "enable_checkpointing": False} | options
    trainer = L.Trainer(max_steps=steps, limit_val_batches=0, **options)
    trainer.fit(method, datamodule=Fourteen(batch_size))
    assert trainer.global_step == steps
    return {name: weight.detach() for name, weight in method.trainable().items()}


@pytest.mark.parametrize(("batch_size", "accumulate"), [(2, 2), (1, 4)])
def test_batch_and_accumulation_give_the_same_weights_across_epoch_ends(sana_folder, batch_size, accumulate):
    whole, parts = trained(sana_folder, 4, 1, 7), trained(sana_folder, batch_size, accumulate, 7)
    for name, weight in whole.items():
        assert (parts[name] - weight).norm() <= DOUBLE * weight.norm(), name


def test_accumulation_schedule_completes_each_optimizer_step(sana_folder):
    """Three batches per step in the first epoch, then two; an epoch has six or twelve batches."""
    seen: dict[int, int] = {}

    class Count(L.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            seen[trainer.global_step] = seen.get(trainer.global_step, 0) + 1

    schedule = GradientAccumulationScheduler({0: 3, 1: 2})
    trained(sana_folder, 1, 1, 9, callbacks=[schedule, Count()])
    assert list(seen.values()) == [3, 3, 3, 3, 2, 2, 2, 2, 2]


@pytest.mark.parametrize("limit", [3, 0.5])
def test_batch_limit_within_a_step_is_refused(sana_folder, limit):
    with pytest.raises(ValueError, match=r"trainer.limit_train_batches .* within an optimiser step of 2 batches; give"):
        trained(sana_folder, 2, 2, 1, limit_train_batches=limit)


def test_loader_reloaded_each_epoch_continues_the_prompt_stream(sana_folder):
    kept, anew = (trained(sana_folder, 4, 1, 7, reload_dataloaders_every_n_epochs=often) for often in (0, 1))
    for name, weight in kept.items():
        assert torch.equal(anew[name], weight), name
