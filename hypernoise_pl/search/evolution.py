"""Evolution strategy on the noise (sep-CMA-ES)."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch

from hypernoise_pl.search.base import Search
from hypernoise_pl.search.problem import NoiseProblem


@dataclass(frozen=True)
class Evolution(Search):
    """Separable CMA-ES around the start noise; candidates are scaled to the norm of the start noise.

    Args:
        generations: generations, at least 1.
        population: candidates of a generation, at least 2.
        sigma: initial step size, in standard deviations of the noise.

    Raises:
        ValueError: if a number is too small.

    Source: Ros and Hansen 2008 (sep-CMA-ES), as the package ``cmaes`` has it.
    """

    generations: int = 8
    population: int = 8
    sigma: float = 0.3

    def __post_init__(self) -> None:
        if self.generations < 1 or self.population < 2 or self.sigma <= 0:
            raise ValueError(f"evolution needs a generation, a population of 2 and a sigma above 0, got {self}")

    def run(self, problem: NoiseProblem) -> None:
        """Run generations until their number or the budget ends."""
        from cmaes import SepCMA

        start = problem.draw(1)
        problem.score(start)
        flat = start.noise.flatten(1)
        norm = flat.norm(dim=1)[:, None, None]
        strategies = [
            SepCMA(mean, self.sigma, seed=seed % 2**32, population_size=self.population)
            for mean, seed in zip(flat.double().cpu().numpy(), start.seeds[:, 0].tolist(), strict=True)
        ]
        for _ in range(self.generations):
            if not problem.affords(self.population):
                return
            asked = np.stack([[strategy.ask() for _ in range(self.population)] for strategy in strategies])
            points = torch.from_numpy(asked).to(flat)  # [B, N, d]
            noise = points * (norm / points.norm(dim=-1, keepdim=True))
            candidates = start.moved(noise.view(len(flat), self.population, *start.noise.shape[2:]))
            scores = problem.score(candidates).double().cpu().numpy()
            for strategy, rows, values in zip(strategies, asked, scores, strict=True):
                strategy.tell([(point, -value) for point, value in zip(rows, values, strict=True)])

    def missing(self) -> str | None:
        """The package cmaes, if it is not installed; else None."""
        here = importlib.util.find_spec("cmaes") is not None
        return None if here else "the package cmaes; pip install 'hypernoise_pl[compare]' has it"

    def nfe(self, steps: int = 1, nfe_per_draw: int = 0, nfe_per_score: int = 0) -> int:
        """The start and every candidate."""
        return nfe_per_draw + (1 + self.generations * self.population) * (steps + nfe_per_score)

    def fit_to(self, budget: int, steps: int = 1, nfe_per_draw: int = 0, nfe_per_score: int = 0) -> Self:
        """The search with as many generations as fit the budget."""
        each = steps + nfe_per_score
        return replace(self, generations=self._count(budget, nfe_per_draw + each, self.population * each))
