"""GenEval as a benchmark: its prompts, folder layout and result file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from hypernoise_pl.data.geneval import GenEvalFile
from hypernoise_pl.metrics.benchmark import Benchmark, Outcome, ScoredImage
from hypernoise_pl.metrics.geneval.colours import ClipColours
from hypernoise_pl.metrics.geneval.detector import Detector
from hypernoise_pl.metrics.geneval.judge import GenEvalJudge
from hypernoise_pl.metrics.geneval.results import CAVEAT, boxes_of, results
from hypernoise_pl.types import Prompt


class GenEval(Benchmark):
    """Share of images with the objects, numbers, colours and positions of their prompts.

    Args:
        detector: object detector; the figures are called GenEval only with GenEval's own checkpoint.
        colours: classifier of the objects' colours.

    Source: Ghosh et al. 2023 (GenEval, arXiv 2310.11513).
    """

    caveat: ClassVar[str] = CAVEAT
    binary: ClassVar[bool] = True

    def __init__(self, detector: Detector, colours: ClipColours) -> None:
        super().__init__()
        self.detector, self.colours = detector, colours
        self.judge = GenEvalJudge(detector, colours)
        self.title = detector.title()

    def missing_metadata(self, prompt: Prompt) -> str | None:
        """The metadata that a prompt lacks for GenEval's judge; None if it is complete."""
        return self.judge.missing_metadata(prompt)

    def judged_by(self) -> str:
        """Names of the detector and the CLIP model."""
        return self.judge.display_name()

    @classmethod
    def read(cls, file: Path, **options: Any) -> list[Prompt]:
        """Read the prompts of GenEval's ``evaluation_metadata.jsonl``, or of a folder with that file."""
        return GenEvalFile(str(file / "evaluation_metadata.jsonl" if file.is_dir() else file)).read(Path())

    def results(self, scored: Sequence[ScoredImage]) -> dict[str, str]:
        """``results.jsonl``, as the reference evaluation writes it."""
        return results(scored)

    def _outcomes(self, images: Tensor, prompts: list[Prompt]) -> list[Outcome]:
        return [
            Outcome(
                float(result.verdict.correct), result.verdict.reason, details={"boxes": boxes_of(result.detections)}
            )
            for result in self.judge.judge_images(images, prompts)
        ]
