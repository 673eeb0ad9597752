"""The base of all data modules: prompts in three splits."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch.utils.data import DataLoader

from hypernoise_pl.data.batches import PromptBatches, PromptLoader
from hypernoise_pl.types import Prompt

Split = Literal["train", "validation", "test"]


class PromptDataModule(L.LightningDataModule, ABC):
    """Prompts in three splits. Batches are lists of ``Prompt``; a subclass implements ``prompts``.

    The module splits prompts over processes itself: several processes need the Trainer's
    ``use_distributed_sampler=False``. With the Trainer's ``overfit_batches``, training repeats that many first batches,
    and validation and test use their prompts.

    Args:
        batch_size: prompts per process and step.
        eval_batch_size: prompts per process at validation and test; one more if processes would otherwise differ in
            their number of batches.
        seed: seed of the training order.
    """

    def __init__(self, batch_size: int = 64, eval_batch_size: int = 32, seed: int = 0) -> None:
        super().__init__()
        if batch_size < 1 or eval_batch_size < 1:
            raise ValueError(
                f"data.batch_size and data.eval_batch_size must be at least 1, got {batch_size} and {eval_batch_size}"
            )
        self.batch_size, self.eval_batch_size, self.seed = batch_size, eval_batch_size, seed
        self._batches: PromptBatches | None = None
        self._given = 0

    @abstractmethod
    def prompts(self, split: Split) -> list[Prompt]:
        """Prompts of a split, each with its index."""

    def train_dataloader(self) -> PromptLoader:
        """Batches in the order of ``PromptBatches``, from the position of a resumed run."""
        prompts = self._checked("train")
        if self._batches is not None and self.trainer is not None and self.trainer.global_step:
            self._given = self._given or self._batches.stepped  # reload_dataloaders_every_n_epochs keeps the position
        self._batches = self._stream(len(prompts))
        self._batches.resume(self._given)
        self._given = 0
        return PromptLoader(prompts, batch_sampler=self._batches, collate_fn=list)  # type: ignore[arg-type]

    def evaluated_prompts(self, split: Split) -> list[Prompt]:
        """Prompts of validation or test: those of the split, or the prompts that the Trainer overfits."""
        if not self._overfitted():
            return self._checked(split)
        prompts = self._checked("train")
        return [prompts[index] for index in self._stream(len(prompts)).repeated_indices()]

    def val_dataloader(self) -> DataLoader[Prompt]:
        """Validation prompts in order, split over processes."""
        return self.eval_dataloader(self.evaluated_prompts("validation"), "validation prompts")

    def test_dataloader(self) -> DataLoader[Prompt]:
        """Test prompts in order, split over processes."""
        return self.eval_dataloader(self.evaluated_prompts("test"), "test prompts")

    def eval_dataloader(self, prompts: list[Prompt], what: str) -> DataLoader[Prompt]:
        """Prompts in order, split over processes with equal numbers of batches.

        Args:
            prompts: prompts of all processes.
            what: name of the prompts, for messages.

        Raises:
            ValueError: if there are fewer prompts than processes.
        """
        rank, world = self._rank_and_world()
        if len(prompts) < world:
            raise ValueError(f"{len(prompts)} {what} for {world} processes; each process needs at least one")
        own = prompts[rank::world]
        batches = _cut(len(own), self.eval_batch_size, len(prompts) // world, len(prompts[::world]))
        draws = torch.Generator()  # without a generator the loader draws from the global random state
        return DataLoader(own, batch_sampler=batches, collate_fn=list, generator=draws)  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, int]:
        """Training prompts given; Lightning restores the loader's own state only within an epoch."""
        return {"given": self._batches.stepped if self._batches is not None else self._given}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue from the position of a checkpoint."""
        self._given = state_dict["given"]

    def _checked(self, split: Split) -> list[Prompt]:
        prompts = self.prompts(split)
        check_prompts(prompts, f"{split} prompts of {type(self).__name__}")
        return prompts

    def _stream(self, count: int) -> PromptBatches:
        """The stream of ``count`` training prompts."""
        return PromptBatches(
            count, self.batch_size, self.seed, *self._rank_and_world(), self._parts(), self._overfitted()
        )

    def _overfitted(self) -> int:
        """Number of batches that the Trainer repeats; 0 if none.

        Raises:
            ValueError: if ``overfit_batches`` is a share; Lightning would apply it to validation too.
        """
        trainer: Any = self.trainer
        repeated = 0 if trainer is None else trainer.overfit_batches
        if repeated and not isinstance(repeated, int):
            raise ValueError(f"trainer.overfit_batches {repeated} is a share; give a number of batches, such as 1")
        return int(repeated)

    def _parts(self) -> int:
        """Number of batches per optimiser step.

        Raises:
            ValueError: if the Trainer would end an epoch within an optimiser step.
        """
        trainer: Any = self.trainer
        if trainer is None:
            return 1
        schedules = [c for c in trainer.callbacks if isinstance(c, GradientAccumulationScheduler)]
        counts = [count for schedule in schedules for count in schedule.scheduling.values()]
        parts = math.lcm(trainer.accumulate_grad_batches, *counts)
        limit = trainer.limit_train_batches
        if isinstance(limit, int) and limit % parts and not trainer.fast_dev_run:
            raise ValueError(
                f"trainer.limit_train_batches {limit} ends an epoch within an optimiser step of {parts} batches; give "
                "a multiple, or trainer.max_steps alone"
            )
        if isinstance(limit, float) and limit != 1.0 and parts > 1:
            raise ValueError(
                f"trainer.limit_train_batches {limit} may end an epoch within an optimiser step of {parts} batches; "
                f"give a number of batches that is a multiple of {parts}, or trainer.max_steps alone"
            )
        return parts

    def _rank_and_world(self) -> tuple[int, int]:
        """Rank of this process and number of processes.

        Raises:
            ValueError: if Lightning would split the prompts over processes too.
        """
        if self.trainer is None:
            return 0, 1
        if self.trainer.world_size > 1 and self.trainer._accelerator_connector.use_distributed_sampler:
            raise ValueError("several processes need trainer.use_distributed_sampler: false; the data splits itself")
        return self.trainer.global_rank, self.trainer.world_size


def check_prompts(prompts: Sequence[Any], what: str) -> None:
    """Check that all prompts are ``Prompt`` with distinct indices, which seed their noise and identify their images.

    Args:
        prompts: prompts of one split.
        what: name of the prompts, for messages.

    Raises:
        ValueError: with the first prompt of another type, or two prompts with the same index.
    """
    seen: dict[int, Prompt] = {}
    for prompt in prompts:
        if not isinstance(prompt, Prompt):
            raise ValueError(f"{what}: {prompt!r} is a {type(prompt).__name__}; give Prompt(text, index=position)")
        if (other := seen.setdefault(prompt.index, prompt)) is not prompt:
            raise ValueError(
                f"{what}: {other.text!r} and {prompt.text!r} both have index {prompt.index} and would share one noise; "
                "give each its position in the set: Prompt(text, index=position)"
            )


def _cut(count: int, size: int, fewest: int, most: int) -> list[list[int]]:
    """Batches of the indices 0 to ``count``, equally many in every process.

    All processes evaluate a sharded network together: a process with one batch less would block the others. A process
    with one prompt less therefore gets smaller batches.

    Args:
        count: number of this process's prompts.
        size: size of a batch.
        fewest: smallest number of prompts of any process.
        most: largest number of prompts of any process.
    """
    number = min(-(-most // size), fewest)
    if -(-count // size) == number:
        return [[*range(first, min(first + size, count))] for first in range(0, count, size)]
    return [part.tolist() for part in torch.arange(count).tensor_split(number)]
