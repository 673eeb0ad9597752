"""What a search method is: a loop over noises that a problem draws, scores and pays for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from hypernoise_pl.search.problem import NoiseProblem


@dataclass(frozen=True)
class Search(ABC):
    """A test-time method. Its ``run`` is the paper's loop; what it found is ``problem.best``.

    Attributes:
        needs_gradient: whether it differentiates the score, so that every verifier must be a reward.
    """

    needs_gradient: ClassVar[bool] = False

    @abstractmethod
    def run(self, problem: NoiseProblem) -> None:
        """Spend the problem's budget."""

    @abstractmethod
    def budget(self, steps: int = 1) -> int:
        """Network evaluations per prompt the method wants, with a generator of so many steps."""
