"""Search over paths: candidates branch on the way from noise to image."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

from torch import Tensor

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.search.base import Search, check_stepped
from hypernoise_pl.search.problem import NoiseProblem


@dataclass(frozen=True)
class SearchOverPaths(Search):
    """N noises are walked down to a level; each is noised M times up, walked further down, and the best go on.

    What is scored is the clean prediction, which a consistency model also walks down by: one evaluation serves both.

    Args:
        paths: N, kept after every round.
        copies: M, noised copies of each.
        start: level of the first stop, in (0, 1); 1 is pure noise.
        up: how far a copy is noised up.
        down: how far it then goes down, more than ``up``.

    Raises:
        ValueError: if a number is below 1 or the levels do not fall.

    Source: Ma et al. 2025, section 3 (Paths-N); its levels were not printed, a re-implementation on FLUX has 0.12, 0.78
        and 0.81 for 30 steps. These are for a few.
    """

    paths: int = 2
    copies: int = 4
    start: float = 0.9
    up: float = 0.05
    down: float = 0.35

    def __post_init__(self) -> None:
        if self.paths < 1 or self.copies < 1 or not 0 < self.start < 1 or not 0 <= self.up < self.down:
            raise ValueError(
                f"search over paths needs a path, a copy, a start inside (0, 1) and down above up, got {self}"
            )

    @property
    def rounds(self) -> int:
        """Rounds of branching until the level is 0."""
        return math.ceil(round(self.start / (self.down - self.up), 9))

    def run(self, problem: NoiseProblem) -> None:
        """Branch and choose until the paths are clean.

        Raises:
            ValueError: if the generator cannot be stopped on its way.
        """
        generator, level = check_stepped(problem.generator), self.start
        noise = problem.draw(self.paths)
        clean = problem.look_ahead(noise, generator.levels(1)[0])
        for _ in range(self.rounds):
            if not problem.affords_states(self.paths * self.copies):
                return
            state = generator.mix(clean, problem.directions(self.paths), level)
            high = min(level + self.up, 1.0)
            state, noise = (x.repeat_interleave(self.copies, 1) for x in (state, noise))
            branched = generator.renoise(state, level, high, problem.directions(self.paths * self.copies))
            clean = problem.look_ahead(branched, high)
            top = problem.score_latents(clean, noise).topk(self.paths, 1).indices
            clean, noise = _chosen(clean, top), _chosen(noise, top)
            level = max(level + self.up - self.down, 0.0)

    def budget(self, steps: int = 1, drawing: int = 0, verifying: int = 0) -> int:
        """The first walk and every branch, whatever the generator's own number of steps."""
        return self.paths * (drawing + 1 + self.rounds * self.copies * (1 + verifying))

    def within(self, budget: int, steps: int = 1, drawing: int = 0, verifying: int = 0) -> Self:
        """As many paths as fit."""
        each = drawing + 1 + self.rounds * self.copies * (1 + verifying)
        return replace(self, paths=self._count(budget, 0, each))

    def check(self, generator: Generator, steps: int) -> None:
        """It must have levels to stop at."""
        super().check(generator, steps)
        check_stepped(generator)


def _chosen(candidates: Tensor, index: Tensor) -> Tensor:
    """[B, K, *Z] of candidates [B, N, *Z]."""
    shape = (*index.shape, *[1] * (candidates.dim() - 2))
    return candidates.gather(1, index.view(shape).expand(*index.shape, *candidates.shape[2:]))
