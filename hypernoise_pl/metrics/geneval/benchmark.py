"""GenEval as a benchmark: its own prompts, layout and result file, by a detector of choice."""

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
    """Share of images that show the objects, numbers, colours and places that their prompts ask for.

    Args:
        detector: of objects; only with GenEval's own checkpoint are the figures called GenEval.
        colours: what names the objects' colours.

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
        """What a prompt's metadata lacks for GenEval's judge; None if nothing."""
        return self.judge.missing_metadata(prompt)

    def judged_by(self) -> str:
        """The detector and the CLIP model, by their names."""
        return self.judge.display_name()

    @classmethod
    def read(cls, file: Path, **options: Any) -> list[Prompt]:
        """The prompts of GenEval's ``evaluation_metadata.jsonl``, or of the folder that it is in."""
        return GenEvalFile(str(file / "evaluation_metadata.jsonl" if file.is_dir() else file)).read(Path())

    def results(self, scored: Sequence[ScoredImage]) -> dict[str, str]:
        """``results.jsonl``, as the reference evaluation writes it."""
        return results(scored)

    def _outcomes(self, images: Tensor, prompts: list[Prompt]) -> list[Outcome]:
        return [
            Outcome(float(seen.verdict.correct), seen.verdict.reason, details={"boxes": boxes_of(seen.found)})
            for seen in self.judge.judge_images(images, prompts)
        ]
