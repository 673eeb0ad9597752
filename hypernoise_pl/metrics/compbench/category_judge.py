"""The contract of judges of T2I-CompBench's categories."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from hypernoise_pl.metrics.benchmark import Outcome
from hypernoise_pl.types import Prompt


class CategoryJudge(nn.Module, ABC):
    """Judges the images of one category."""

    def missing_metadata(self, prompt: Prompt) -> str | None:
        """The metadata that a prompt lacks, as "has no ..."; None if it is complete."""
        return None

    @abstractmethod
    def judge(self, images: Tensor, prompts: list[Prompt]) -> list[Outcome]:
        """Outcomes of images [B, 3, H, W] in [0, 1] with B prompts; NaN for an image that cannot be judged."""
