"""No search: the noise as it comes, so that a comparison has its zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from hypernoise_pl.search.base import Search
from hypernoise_pl.search.problem import NoiseProblem


@dataclass(frozen=True)
class NoSearch(Search):
    """One noise, one image, no verifier asked; from refined noise this is the hypernetwork itself."""

    def run(self, problem: NoiseProblem) -> None:
        """Take the first noise."""
        problem.settle(problem.draw(1))

    def budget(self, steps: int = 1, drawing: int = 0, verifying: int = 0) -> int:
        """One noise and one image."""
        return drawing + steps

    def within(self, budget: int, steps: int = 1, drawing: int = 0, verifying: int = 0) -> Self:
        """The same, if the budget holds it."""
        self._count(budget, 0, drawing + steps)
        return self
