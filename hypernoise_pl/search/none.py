"""No search: the base of a comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from hypernoise_pl.search.base import Search
from hypernoise_pl.search.problem import NoiseProblem


@dataclass(frozen=True)
class NoSearch(Search):
    """One noise and one image, without a verifier; with an adapter, the adapter alone."""

    def run(self, problem: NoiseProblem) -> None:
        """Make the image of the first noise."""
        problem.settle(problem.draw(1))

    def budget(self, steps: int = 1, drawing: int = 0, verifying: int = 0) -> int:
        """One noise and one image."""
        return drawing + steps

    def within(self, budget: int, steps: int = 1, drawing: int = 0, verifying: int = 0) -> Self:
        """This search; raises ``ValueError`` if the budget is too small for one image."""
        self._count(budget, 0, drawing + steps)
        return self
