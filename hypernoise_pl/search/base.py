"""The contract of a search method: a loop over noises of a problem."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import ClassVar, Self

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.search.problem import NoiseProblem


@dataclass(frozen=True)
class Search(ABC):
    """A test-time method. Its ``run`` is the paper's loop; the answer is ``problem.answer()``.

    Attributes:
        needs_gradient: whether it differentiates the score; its verifier must then be a reward.
    """

    needs_gradient: ClassVar[bool] = False

    @property
    def label(self) -> str:
        """The class, and its first option if that is a number: ``ReNO (50 iterations)``; for tables and pictures."""
        options = fields(self)
        first = getattr(self, options[0].name) if options else None
        return type(self).__name__ + (f" ({first} {options[0].name})" if type(first) is int else "")

    @abstractmethod
    def run(self, problem: NoiseProblem) -> None:
        """Spend the problem's budget."""

    @abstractmethod
    def nfe(self, steps: int = 1, nfe_per_draw: int = 0, nfe_per_score: int = 0) -> int:
        """Network evaluations per prompt that the method makes.

        Args:
            steps: evaluations per image of the generator.
            nfe_per_draw: evaluations per drawn noise: the adapter's ``nfe``, 0 without an adapter.
            nfe_per_score: evaluations per scored sample: a latent verifier's ``nfe``, else 0.
        """

    @abstractmethod
    def fit_to(self, budget: int, steps: int = 1, nfe_per_draw: int = 0, nfe_per_score: int = 0) -> Self:
        """The same method at the length that fits a budget of network evaluations.

        Raises:
            ValueError: if the budget is below that of the shortest search.
        """

    def min_nfe(self, steps: int = 1, nfe_per_draw: int = 0, nfe_per_score: int = 0) -> int:
        """The smallest budget of the method.

        Raises:
            ValueError: if the steps are too few for the method.
        """
        self.nfe(steps, nfe_per_draw, nfe_per_score)
        for budget in itertools.count(1):
            try:
                self.fit_to(budget, steps, nfe_per_draw, nfe_per_score)
            except ValueError:
                continue
            return budget
        raise AssertionError

    def check(self, generator: Generator, steps: int) -> None:
        """Check a generator and a number of steps, before anything is spent.

        Raises:
            ValueError: if the method cannot run with them.
        """
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")

    def missing(self) -> str | None:
        """Words for a missing package or option without which the method cannot run; None if nothing is missing."""
        return None

    def _count(self, budget: int, first: int, each: int) -> int:
        """The number of moves of ``each`` evaluations in a budget, after ``first`` evaluations."""
        count = (budget - first) // each
        if count < 1:
            raise ValueError(f"{type(self).__name__} needs a budget of {first + each} NFE at least, got {budget}")
        return count
