"""Prompt sets as LightningDataModules: what is trained on, validated on and tested on."""

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
    """Batches of indices, cut from one endless stream: permutation after permutation of the prompts.

    Nothing is dropped at the end of a permutation or padded: a batch that the rest does not fill goes on in the next.
    The stream is a function of the seed alone. Every process cuts its own slice out of each global batch, so that one
    process with a batch of 8 and two with 4 see the same prompts in the same steps. The whole state is the number of
    prompts that all processes together were given: a checkpoint keeps it, and a resumed run goes on with the very next
    prompt, whatever its batch size and number of processes.

    Args:
        count: prompts in the set.
        batch_size: prompts of a batch, per process.
        seed: seed of the order.
        rank: number of this process.
        world: number of processes.
        parts: batches that make an optimiser step.
        repeated: first batches of the stream that are given again and again; 0 for the whole stream.

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
        """Batches of what Lightning calls an epoch, at whose end it takes a step: as many whole steps as prompts fill.

        There is one step at least, which goes on in the next permutation.
        """
        return max(1, self.count // (self._at_once * self.parts)) * self.parts

    def __iter__(self) -> Iterator[list[int]]:
        for _ in range(len(self)):
            self.given += self._at_once
            yield self._batch(self.given - self._at_once)

    @property
    def stepped(self) -> int:
        """Prompts given in whole optimiser steps: what a step's first batches were given is given again."""
        step = self._at_once * self.parts
        return self._first + (self.given - self._first) // step * step

    def repeated_indices(self) -> list[int]:
        """Indices of what is given again and again, in all processes; empty for the whole stream."""
        return [*dict.fromkeys(self._prompt(place) for place in range(self.repeated * self._at_once))]

    def resume(self, given: int) -> None:
        """Continue after so many prompts."""
        self.given = self._first = given

    @property
    def _at_once(self) -> int:
        """Prompts of a batch in all processes."""
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
    """A loader whose place in the stream Lightning saves and restores."""

    def state_dict(self) -> dict[str, int]:
        """Prompts given in whole steps."""
        return {"given": self.batch_sampler.stepped}  # type: ignore[union-attr]

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from a saved place."""
        self.batch_sampler.resume(state["given"])  # type: ignore[union-attr]


class PromptDataModule(L.LightningDataModule, ABC):
    """A prompt set in three splits. Batches are lists of ``Prompt``.

    A set fills in ``prompts``. It splits prompts over processes itself, so several processes need the Trainer's
    ``use_distributed_sampler=False``. Where the Trainer has ``overfit_batches``, so many first batches are trained on
    again and again, and it is their prompts that validation and test measure.

    Args:
        batch_size: prompts per process and step.
        eval_batch_size: prompts per process at validation and test; one more where several processes could not have the
            same number of batches otherwise.
        seed: of the training order.
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
        """The prompts of a split, each with its index."""

    def train_dataloader(self) -> PromptLoader:
        """In the order of ``PromptBatches``, from where a resumed run had come to."""
        prompts = self._checked("train")
        if self._batches is not None and self.trainer is not None and self.trainer.global_step:
            self._given = self._given or self._batches.stepped  # reload_dataloaders_every_n_epochs begins nothing anew
        self._batches = self._stream(len(prompts))
        self._batches.resume(self._given)
        self._given = 0
        return PromptLoader(prompts, batch_sampler=self._batches, collate_fn=list)  # type: ignore[arg-type]

    def evaluated_prompts(self, split: Split) -> list[Prompt]:
        """The prompts that validation or test measures: of its split, or those that the Trainer overfits."""
        if not self._overfitted():
            return self._checked(split)
        prompts = self._checked("train")
        return [prompts[index] for index in self._stream(len(prompts)).repeated_indices()]

    def val_dataloader(self) -> DataLoader[Prompt]:
        """In order, split over processes."""
        return self.eval_dataloader(self.evaluated_prompts("validation"), "validation prompts")

    def test_dataloader(self) -> DataLoader[Prompt]:
        """In order, split over processes."""
        return self.eval_dataloader(self.evaluated_prompts("test"), "test prompts")

    def eval_dataloader(self, prompts: list[Prompt], what: str) -> DataLoader[Prompt]:
        """Prompts in order, split over processes, which all have the same number of batches.

        Args:
            prompts: of all processes.
            what: they are, for messages.

        Raises:
            ValueError: if there are fewer prompts than processes.
        """
        rank, world = self._place()
        if len(prompts) < world:
            raise ValueError(f"{len(prompts)} {what} for {world} processes; each needs one at least")
        own = prompts[rank::world]
        batches = _cut(len(own), self.eval_batch_size, len(prompts) // world, len(prompts[::world]))
        draws = torch.Generator()  # without one a loader takes a number from the global random state
        return DataLoader(own, batch_sampler=batches, collate_fn=list, generator=draws)  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, int]:
        """Training prompts given; Lightning restores the loader's own state only where it resumes within an epoch."""
        return {"given": self._batches.stepped if self._batches is not None else self._given}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Begin where a checkpoint was saved."""
        self._given = state_dict["given"]

    def _checked(self, split: Split) -> list[Prompt]:
        prompts = self.prompts(split)
        check_prompts(prompts, f"{split} prompts of {type(self).__name__}")
        return prompts

    def _stream(self, count: int) -> PromptBatches:
        """The order of so many training prompts, from its beginning."""
        return PromptBatches(count, self.batch_size, self.seed, *self._place(), self._parts(), self._overfitted())

    def _overfitted(self) -> int:
        """Batches that the Trainer repeats; 0 if none.

        Raises:
            ValueError: if a share of the batches is to be repeated, which Lightning takes of validation's too.
        """
        trainer: Any = self.trainer
        repeated = 0 if trainer is None else trainer.overfit_batches
        if repeated and not isinstance(repeated, int):
            raise ValueError(f"trainer.overfit_batches {repeated}: a share; give a number of batches, like 1")
        return int(repeated)

    def _parts(self) -> int:
        """Batches that make an optimiser step.

        Raises:
            ValueError: if the Trainer would end an epoch, and so take a step, within those of one.
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

    def _place(self) -> tuple[int, int]:
        """Rank and number of processes.

        Raises:
            ValueError: if Lightning would split the prompts over processes a second time.
        """
        if self.trainer is None:
            return 0, 1
        if self.trainer.world_size > 1 and self.trainer._accelerator_connector.use_distributed_sampler:
            raise ValueError("several processes need trainer.use_distributed_sampler: false; the data splits itself")
        return self.trainer.global_rank, self.trainer.world_size


def check_prompts(prompts: Sequence[Any], what: str) -> None:
    """Check that prompts are ``Prompt`` and have an index each: it seeds a prompt's noise, and tells its images apart.

    Args:
        prompts: of one split.
        what: they are, for messages.

    Raises:
        ValueError: naming the first that is of another type, or two of one index.
    """
    seen: dict[int, Prompt] = {}
    for prompt in prompts:
        if not isinstance(prompt, Prompt):
            raise ValueError(f"{what}: {prompt!r} is a {type(prompt).__name__}; give Prompt(text, index=place)")
        if (other := seen.setdefault(prompt.index, prompt)) is not prompt:
            raise ValueError(
                f"{what}: {other.text!r} and {prompt.text!r} both have index {prompt.index}, and would have one noise; "
                "give each its place in the set: Prompt(text, index=place)"
            )


def _cut(count: int, size: int, fewest: int, most: int) -> list[list[int]]:
    """Batches of one process's places 0 to ``count``, as many as every other process has.

    A network that is spread over processes is evaluated by all of them together: one with a batch less would leave the
    others waiting. So where a process has one prompt less, it does not leave out a batch but cuts smaller ones.

    Args:
        count: of this process's prompts.
        size: of a batch.
        fewest: prompts of any process.
        most: prompts of any process.
    """
    number = min(-(-most // size), fewest)
    if -(-count // size) == number:
        return [[*range(first, min(first + size, count))] for first in range(0, count, size)]
    return [part.tolist() for part in torch.arange(count).tensor_split(number)]
