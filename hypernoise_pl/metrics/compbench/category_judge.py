"""What judges the images of a category of T2I-CompBench."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from hypernoise_pl.metrics.benchmark import Outcome
from hypernoise_pl.types import Prompt


class CategoryJudge(nn.Module, ABC):
    """Judges the images of a category."""

    def missing_metadata(self, prompt: Prompt) -> str | None:
        """What a prompt lacks to be judged, as "has no ..."; None if nothing."""
        return None

    @abstractmethod
    def judge(self, images: Tensor, prompts: list[Prompt]) -> list[Outcome]:
        """B outcomes of images [B, 3, H, W] in [0, 1] and their B prompts; NaN where one cannot be judged."""
