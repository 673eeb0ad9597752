"""What a search method is: a loop over noises that a problem draws, scores and pays for."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import ClassVar, Self

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.search.problem import NoiseProblem


@dataclass(frozen=True)
class Search(ABC):
    """A test-time method. Its ``run`` is the paper's loop; what it found is ``problem.best``.

    Attributes:
        needs_gradient: whether it differentiates the score, so that every verifier must be a reward.
    """

    needs_gradient: ClassVar[bool] = False

    @property
    def label(self) -> str:
        """The class, and the first option where it is a number: ``ReNO (50 iterations)``; for tables and pictures."""
        options = fields(self)
        first = getattr(self, options[0].name) if options else None
        return type(self).__name__ + (f" ({first} {options[0].name})" if type(first) is int else "")

    @abstractmethod
    def run(self, problem: NoiseProblem) -> None:
        """Spend the problem's budget."""

    @abstractmethod
    def budget(self, steps: int = 1, drawing: int = 0, verifying: int = 0) -> int:
        """Network evaluations per prompt the method wants.

        Args:
            steps: evaluations per image of the generator.
            drawing: evaluations per noise drawn: 1 where a hypernetwork refines them, else 0.
            verifying: evaluations that scoring one sample takes: 0 but for some latent verifiers (their ``nfe``).
        """

    @abstractmethod
    def within(self, budget: int, steps: int = 1, drawing: int = 0, verifying: int = 0) -> Self:
        """The same method, as long as a budget of network evaluations allows.

        Raises:
            ValueError: if the budget holds not even the shortest search.
        """

    def shortest(self, steps: int = 1, drawing: int = 0, verifying: int = 0) -> int:
        """The smallest budget that holds the method.

        Raises:
            ValueError: if the steps are too few for it.
        """
        self.budget(steps, drawing, verifying)
        for budget in itertools.count(1):
            try:
                self.within(budget, steps, drawing, verifying)
            except ValueError:
                continue
            return budget
        raise AssertionError

    def check(self, generator: Generator, steps: int) -> None:
        """Say before anything is spent what a generator, or its number of steps, lacks for this method.

        Raises:
            ValueError: if it cannot serve.
        """
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")

    def missing(self) -> str | None:
        """What must be there before the method can run, in words; None if nothing is missing."""
        return None

    def _count(self, budget: int, first: int, each: int) -> int:
        """How often a budget holds what costs ``each``, beside what costs ``first`` once."""
        count = (budget - first) // each
        if count < 1:
            raise ValueError(f"{type(self).__name__} needs a budget of {first + each} NFE at least, got {budget}")
        return count
