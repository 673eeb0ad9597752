"""Prompt sets as LightningDataModules: what is trained on, validated on and tested on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Literal

import lightning as L
import torch
from torch.utils.data import DataLoader, Sampler

from hypernoise_pl.types import Prompt

Split = Literal["train", "validation", "test"]


class PromptBatches(Sampler[list[int]]):
    """Batches of indices in an order that is a function of (seed, epoch) alone.

    Every process sees the same global order and takes its own slice of each global batch. The position is a state
    that a checkpoint keeps, so a resumed run continues with the very next batch.

    Args:
        count: prompts in the set.
        batch_size: per process.
        seed: of the order.
        rank: of this process.
        world: processes.

    Raises:
        ValueError: if the set does not fill one global batch.
    """

    def __init__(self, count: int, batch_size: int, seed: int, rank: int = 0, world: int = 1) -> None:
        if count < batch_size * world:
            raise ValueError(
                f"{count} training prompts do not fill one batch of {batch_size} on {world} process(es); "
                "lower data.batch_size or add prompts"
            )
        self.count, self.batch_size, self.seed, self.rank, self.world = count, batch_size, seed, rank, world
        self.epoch = 0
        self.position = 0

    def __len__(self) -> int:
        return self.count // (self.batch_size * self.world)

    def __iter__(self) -> Iterator[list[int]]:
        draws = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.count, generator=draws)
        while self.position < len(self):
            start = (self.position * self.world + self.rank) * self.batch_size
            self.position += 1
            yield order[start : start + self.batch_size].tolist()
        self.epoch, self.position = self.epoch + 1, 0


class PromptLoader(DataLoader[Prompt]):
    """A loader whose place in the epoch Lightning saves and restores."""

    def state_dict(self) -> dict[str, int]:
        """Epoch and batches done."""
        batches: Any = self.batch_sampler
        return {"epoch": batches.epoch, "position": batches.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from a saved place."""
        batches: Any = self.batch_sampler
        batches.epoch, batches.position = state["epoch"], state["position"]


class PromptDataModule(L.LightningDataModule, ABC):
    """A prompt set in three splits. Batches are lists of ``Prompt``.

    A set fills in ``prompts``. Use it with the Trainer's ``use_distributed_sampler=False``: the order of training
    prompts is its own.

    Args:
        batch_size: prompts per process and step.
        eval_batch_size: prompts per process at validation and test.
        seed: of the training order.
    """

    def __init__(self, batch_size: int = 64, eval_batch_size: int = 32, seed: int = 0) -> None:
        super().__init__()
        if batch_size < 1 or eval_batch_size < 1:
            raise ValueError(f"batch sizes must be at least 1, got {batch_size} and {eval_batch_size}")
        self.batch_size, self.eval_batch_size, self.seed = batch_size, eval_batch_size, seed

    @abstractmethod
    def prompts(self, split: Split) -> list[Prompt]:
        """The prompts of a split, each with its index."""

    def train_dataloader(self) -> PromptLoader:
        """Endless in effect: reshuffled every epoch."""
        prompts = self.prompts("train")
        batches = PromptBatches(len(prompts), self.batch_size, self.seed, *self._place())
        return PromptLoader(prompts, batch_sampler=batches, collate_fn=list)  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader[Prompt]:
        """In order, split over processes."""
        return self._in_order("validation")

    def test_dataloader(self) -> DataLoader[Prompt]:
        """In order, split over processes."""
        return self._in_order("test")

    def _in_order(self, split: Split) -> DataLoader[Prompt]:
        rank, world = self._place()
        prompts = self.prompts(split)[rank::world]
        return DataLoader(prompts, self.eval_batch_size, collate_fn=list)  # type: ignore[arg-type]

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
