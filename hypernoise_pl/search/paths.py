"""Search over paths: sampling trajectories branch between the generator's steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.search.base import Search
from hypernoise_pl.search.problem import NoiseProblem
from hypernoise_pl.search.trajectories import Trajectories

MIN_STEPS = 3  # one stop to branch at, and one before it to renoise to


@dataclass(frozen=True)
class SearchOverPaths(Search):
    """N paths run to an intermediate time; M copies of each are renoised and run further; the best N continue.

    Paths take the generator's own steps and stop at its own times: the three distances below are shares of its steps,
    rounded to whole ones. Copies are scored on the one-step prediction of x0. At the end they are clean latents, and
    the best of them is the answer.

    Args:
        paths: N, paths that are kept after every round.
        copies: M, renoised copies of each path.
        start: share of the steps that remain at the first stop, in (0, 1).
        up: share of the steps that a copy goes back by renoising.
        down: share of the steps that a copy then takes; larger than ``up``.

    Raises:
        ValueError: if a number is below 1 or ``down`` is not above ``up``.

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
        if steps < MIN_STEPS:
            raise ValueError(f"search over paths needs {MIN_STEPS} steps at least, got {steps}; set steps")
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
        """Branch and select until the paths are clean latents.

        Raises:
            ValueError: if the generator takes too few steps.
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

    def nfe(self, steps: int = 1, nfe_per_draw: int = 0, nfe_per_score: int = 0) -> int:
        """All steps of the paths, and a prediction of every copy at every stop but the last."""
        return self.paths * self._each(steps, nfe_per_draw, nfe_per_score)

    def fit_to(self, budget: int, steps: int = 1, nfe_per_draw: int = 0, nfe_per_score: int = 0) -> Self:
        """The search with as many paths as fit the budget."""
        return replace(self, paths=self._count(budget, 0, self._each(steps, nfe_per_draw, nfe_per_score)))

    def check(self, generator: Generator, steps: int) -> None:
        """Raise ``ValueError`` for too few steps."""
        super().check(generator, steps)
        self.plan(steps)

    def _each(self, steps: int, nfe_per_draw: int, nfe_per_score: int) -> int:
        """Network evaluations of one path."""
        first, _, rounds = self.plan(steps)
        branches = sum(rounds) + len(rounds) * nfe_per_score + len(rounds) - 1
        return nfe_per_draw + first + self.copies * branches
