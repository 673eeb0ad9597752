"""Random search (best-of-N)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from hypernoise_pl.search.base import Search
from hypernoise_pl.search.problem import NoiseProblem


@dataclass(frozen=True)
class RandomSearch(Search):
    """Score N independent noises and keep the best.

    Args:
        candidates: N, noises per prompt.

    Raises:
        ValueError: if there is no candidate.

    Source: Ma et al. 2025, section 3.
    """

    candidates: int = 16

    def __post_init__(self) -> None:
        if self.candidates < 1:
            raise ValueError(f"random search needs a candidate, got {self}")

    def run(self, problem: NoiseProblem) -> None:
        """Draw and score the candidates in chunks."""
        left = self.candidates
        while left:
            count = min(left, problem.at_once)
            problem.score(problem.draw(count))
            left -= count

    def nfe(self, steps: int = 1, nfe_per_draw: int = 0, nfe_per_score: int = 0) -> int:
        """N noises and images."""
        return self.candidates * (nfe_per_draw + steps + nfe_per_score)

    def fit_to(self, budget: int, steps: int = 1, nfe_per_draw: int = 0, nfe_per_score: int = 0) -> Self:
        """The search with as many candidates as fit the budget."""
        return replace(self, candidates=self._count(budget, 0, nfe_per_draw + steps + nfe_per_score))
