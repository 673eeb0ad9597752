"""The base of all data modules: prompts in three splits, and a resumable stream of training batches."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from hypernoise_pl.types import Prompt

Split = Literal["train", "validation", "test"]


class PromptBatches(Sampler[list[int]]):
    """Batches of indices from an endless stream of permutations of the prompts.

    A batch may span two permutations: nothing is dropped or padded. The stream depends on the seed alone. Each process
    takes its slice of every global batch, so that one process with a batch of 8 and two with 4 process the same prompts
    in the same steps. The state is the number of prompts given to all processes: a run resumed from it continues with
    the next prompt, for any batch size and number of processes.

    Args:
        count: number of prompts in the set.
        batch_size: prompts per batch and process.
        seed: seed of the order.
        rank: rank of this process.
        world: number of processes.
        parts: batches per optimiser step.
        repeated: number of first batches to repeat forever; 0 for the whole stream.

    Raises:
        ValueError: if the set does not fill one global batch.
    """

    def __init__(
        self, count: int, batch_size: int, seed: int, rank: int = 0, world: int = 1, parts: int = 1, repeated: int = 0
    ) -> None:
        if count < batch_size * world:
            raise ValueError(
                f"{count} training prompts do not fill one batch of {batch_size} on {world} process(es); "
                "lower data.batch_size or add prompts"
            )
        self.count, self.batch_size, self.seed, self.rank, self.world = count, batch_size, seed, rank, world
        self.parts, self.repeated, self.given, self._first = parts, repeated, 0, 0
        self._permutations: dict[int, Tensor] = {}

    def __len__(self) -> int:
        """Batches of a Lightning epoch: as many complete optimiser steps as the prompts fill, at least one."""
        return max(1, self.count // (self._at_once * self.parts)) * self.parts

    def __iter__(self) -> Iterator[list[int]]:
        for _ in range(len(self)):
            self.given += self._at_once
            yield self._batch(self.given - self._at_once)

    @property
    def stepped(self) -> int:
        """Prompts given in complete optimiser steps; a resumed run repeats an incomplete step."""
        step = self._at_once * self.parts
        return self._first + (self.given - self._first) // step * step

    def repeated_indices(self) -> list[int]:
        """Indices of the repeated prompts in all processes; empty for the whole stream."""
        return [*dict.fromkeys(self._prompt(place) for place in range(self.repeated * self._at_once))]

    def resume(self, given: int) -> None:
        """Continue after ``given`` prompts."""
        self.given = self._first = given

    @property
    def _at_once(self) -> int:
        """Prompts of a global batch."""
        return self.batch_size * self.world

    def _batch(self, given: int) -> list[int]:
        first = (given % (self.repeated * self._at_once) if self.repeated else given) + self.rank * self.batch_size
        return [self._prompt(place) for place in range(first, first + self.batch_size)]

    def _prompt(self, place: int) -> int:
        return int(self._permutation(place // self.count)[place % self.count])

    def _permutation(self, number: int) -> Tensor:
        if number not in self._permutations:
            draws = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
            older = {n: order for n, order in self._permutations.items() if n == number - 1}
            self._permutations = {**older, number: torch.randperm(self.count, generator=draws)}
        return self._permutations[number]


class PromptLoader(DataLoader[Prompt]):
    """A loader whose position in the stream Lightning saves and restores."""

    def state_dict(self) -> dict[str, int]:
        """Prompts given in complete steps."""
        return {"given": self.batch_sampler.stepped}  # type: ignore[union-attr]

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from a saved position."""
        self.batch_sampler.resume(state["given"])  # type: ignore[union-attr]


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
