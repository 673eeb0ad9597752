"""The stream of training batches: endless, shared by all processes, resumable at any prompt."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from hypernoise_pl.types import Prompt


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
