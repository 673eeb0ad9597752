"""Zero-order search: moves to the best neighbour of a pivot noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from torch import Tensor

from hypernoise_pl.search.base import Search
from hypernoise_pl.search.problem import NoiseProblem


@dataclass(frozen=True)
class ZeroOrder(Search):
    """Score neighbours with the norm of the pivot noise and move to the best; stay where none is better.

    Args:
        iterations: moves.
        neighbours: N, candidates of a move (ZO-N).
        cosine: cosine of the angle between pivot and neighbour, in (0, 1).

    Raises:
        ValueError: if a number is below 1 or the cosine is not inside (0, 1).

    Source: Ma et al. 2025, section 3 (ZO-2, lambda = 0.95). There the pivot always moves; here it may stay, and
    its score is not computed again.
    """

    iterations: int = 8
    neighbours: int = 2
    cosine: float = 0.95

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.neighbours < 1 or not 0 < self.cosine < 1:
            raise ValueError(f"zero-order search needs numbers of 1 at least and a cosine inside (0, 1), got {self}")

    def run(self, problem: NoiseProblem) -> None:
        """Move until the iterations or the budget end."""
        problem.score(problem.draw(1))
        for _ in range(self.iterations):
            if not problem.affords(self.neighbours):
                return
            assert problem.best is not None
            pivot, directions = problem.best.candidates, problem.streams.normal(self.neighbours)
            problem.score(pivot.moved(neighbours(pivot.noise[:, 0], directions, self.cosine)))

    def nfe(self, steps: int = 1, nfe_per_draw: int = 0, nfe_per_score: int = 0) -> int:
        """The pivot and every neighbour."""
        return nfe_per_draw + (1 + self.iterations * self.neighbours) * (steps + nfe_per_score)

    def fit_to(self, budget: int, steps: int = 1, nfe_per_draw: int = 0, nfe_per_score: int = 0) -> Self:
        """The search with as many moves as fit the budget."""
        each = steps + nfe_per_score
        return replace(self, iterations=self._count(budget, nfe_per_draw + each, self.neighbours * each))


def neighbours(pivot: Tensor, directions: Tensor, cosine: float) -> Tensor:
    """Noises at a given angle from a pivot, of exactly its norm.

    Args:
        pivot: [B, *Z].
        directions: [B, N, *Z] normal numbers; their part orthogonal to the pivot is used.
        cosine: cosine of the angle.

    Returns:
        [B, N, *Z].
    """
    flat, ways = pivot.flatten(1)[:, None], directions.flatten(2)
    norm = flat.norm(dim=-1, keepdim=True)
    unit = flat / norm
    across = ways - (ways * unit).sum(-1, keepdim=True) * unit
    across = across / across.norm(dim=-1, keepdim=True)
    return (norm * (cosine * unit + (1 - cosine**2) ** 0.5 * across)).view_as(directions)
