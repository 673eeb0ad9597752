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
        problem.accept_unscored(problem.draw(1))

    def nfe(self, steps: int = 1, nfe_per_draw: int = 0, nfe_per_score: int = 0) -> int:
        """One noise and one image."""
        return nfe_per_draw + steps

    def fit_to(self, budget: int, steps: int = 1, nfe_per_draw: int = 0, nfe_per_score: int = 0) -> Self:
        """This search; raises ``ValueError`` if the budget is too small for one image."""
        self._count(budget, 0, nfe_per_draw + steps)
        return self
