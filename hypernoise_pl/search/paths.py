"""Search over paths: candidates branch on the way from noise to image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.search.base import Search
from hypernoise_pl.search.problem import NoiseProblem
from hypernoise_pl.search.trajectories import Trajectories

LEAST = 3  # steps between which there is a stop to go on from, and one before it to noise back to


@dataclass(frozen=True)
class SearchOverPaths(Search):
    """N noises are solved to a noise level; M copies of each are noised up and solved further down; the best N go on.

    Every solve takes the generator's own steps, and every stop is one of its own levels: the three distances below are
    shares of its steps, rounded to whole ones. Copies are scored on the one-step clean prediction; at the last stop
    they are clean latents, and the best of them is the answer.

    Args:
        paths: N, kept after every round.
        copies: M, noised copies of each.
        start: share of the steps that are left at the first stop, in (0, 1).
        up: share of the steps that a copy is noised back by.
        down: share of the steps that a copy then takes, more than ``up``.

    Raises:
        ValueError: if a number is below 1 or the distances do not lead down.

    Source: Ma et al. 2025, section 3 (Paths-N); its levels were not printed, a re-implementation on FLUX has 0.12, 0.78
        and 0.81 for 30 steps. The defaults are for a few steps.
    """

    paths: int = 2
    copies: int = 4
    start: float = 0.5
    up: float = 0.25
    down: float = 0.5

    def __post_init__(self) -> None:
        if self.paths < 1 or self.copies < 1 or not 0 < self.start < 1 or not 0 <= self.up < self.down:
            raise ValueError(
                f"search over paths needs a path, a copy, a start inside (0, 1) and down above up, got {self}"
            )

    def plan(self, steps: int) -> tuple[int, int, list[int]]:
        """Steps to the first stop, steps that a copy is noised back by, and steps that it takes in each round.

        Raises:
            ValueError: if the steps are too few to stop between.
        """
        if steps < LEAST:
            raise ValueError(f"search over paths acts between steps and needs {LEAST} at least; set steps, now {steps}")
        back = min(max(round(self.up * steps), 1), steps - 2)
        first = min(max(round((1 - self.start) * steps), back + 1), steps - 1)
        onward = max(round(self.down * steps), back + 1)
        rounds, place = [], first
        while place < steps:
            place -= back
            rounds.append(min(onward, steps - place))
            place += rounds[-1]
        return first, back, rounds

    def run(self, problem: NoiseProblem) -> None:
        """Branch and choose until the paths are clean.

        Raises:
            ValueError: if the generator cannot be stopped between steps, or takes too few.
        """
        self.check(problem.generator, problem.steps)
        first, back, rounds = self.plan(problem.steps)
        paths = Trajectories(problem, problem.draw(self.paths))
        paths.advance(first)
        for number, onward in enumerate(rounds, 1):
            paths.copy(self.copies)
            paths.renoise(back)
            paths.advance(onward)
            if number < len(rounds):
                scores = problem.preview(paths.denoise())
                paths.pick(scores.topk(self.paths, 1).indices)
        problem.score_latents(paths.state, paths.start)

    def budget(self, steps: int = 1, drawing: int = 0, verifying: int = 0) -> int:
        """Every solve, and a prediction of every copy at every stop but the last."""
        return self.paths * self._each(steps, drawing, verifying)

    def within(self, budget: int, steps: int = 1, drawing: int = 0, verifying: int = 0) -> Self:
        """As many paths as fit."""
        return replace(self, paths=self._count(budget, 0, self._each(steps, drawing, verifying)))

    def check(self, generator: Generator, steps: int) -> None:
        """Raise ``ValueError`` for too few steps."""
        super().check(generator, steps)
        self.plan(steps)

    def _each(self, steps: int, drawing: int, verifying: int) -> int:
        """Network evaluations of one path."""
        first, _, rounds = self.plan(steps)
        branches = sum(rounds) + len(rounds) * verifying + len(rounds) - 1
        return drawing + first + self.copies * branches
