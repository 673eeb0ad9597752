"""A judge's verdicts as a benchmark."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from hypernoise_pl.metrics.benchmark import Benchmark, Outcome
from hypernoise_pl.metrics.judge import Judge
from hypernoise_pl.types import Prompt


class JudgeBenchmark(Benchmark):
    """Share of images that a judge finds correct.

    Args:
        judge: judge of the images.
    """

    binary: ClassVar[bool] = True

    def __init__(self, judge: Judge) -> None:
        super().__init__()
        self.judge = judge
        self.title = "Share of correct images"

    def missing_metadata(self, prompt: Prompt) -> str | None:
        """The metadata that a prompt lacks for the judge; None if it is complete."""
        return self.judge.missing_metadata(prompt)

    def judged_by(self) -> str:
        """Name of the judge."""
        return self.judge.display_name()

    def _outcomes(self, images: Tensor, prompts: list[Prompt]) -> list[Outcome]:
        return [Outcome(float(each.correct), each.reason) for each in self.judge.verdicts(images, prompts)]
