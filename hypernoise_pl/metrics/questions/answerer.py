"""The contract of answerers, which answer questions about images."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from hypernoise_pl.config.arguments import KeepsArguments
from hypernoise_pl.metrics.questions.question import Question
from hypernoise_pl.system.autocast import without_autocast
from hypernoise_pl.types import check_images


@dataclass(frozen=True)
class Answer:
    """The answer to one question about one image.

    Args:
        probability: probability in [0, 1] of an expected answer; NaN without an answer.
        given: most probable answer; empty without an answer.
    """

    probability: float
    given: str = ""

    @property
    def missing(self) -> bool:
        """Whether there is no answer."""
        return math.isnan(self.probability)


class Answerer(KeepsArguments, nn.Module, ABC):
    """Answers questions about images."""

    neutral: ClassVar[tuple[str, ...]] = ()

    @torch.no_grad()
    def answer(self, images: Tensor, questions: Sequence[Sequence[Question]]) -> list[list[Answer]]:
        """Answer questions.

        Args:
            images: [B, 3, H, W] in [0, 1].
            questions: questions about each image.

        Returns:
            For each image, an answer to each of its questions.

        Raises:
            ValueError: if images are bytes, have another shape or are not in [0, 1], or the number of answers differs.
        """
        check_images(images, len(questions))
        if not len(images):
            return []
        with without_autocast(images.device):
            answers = self._answer(images, [list(own) for own in questions])
        if [len(own) for own in answers] != [len(own) for own in questions]:
            raise ValueError(
                f"{type(self).__name__} must give an answer to each of {[len(own) for own in questions]} questions, "
                f"got {[len(own) for own in answers]}"
            )
        return answers

    def missing(self) -> str | None:
        """The first requirement that is missing, in words; None if the answerer can answer."""
        return None

    @abstractmethod
    def display_name(self) -> str:
        """Name of the model, for tables."""

    @abstractmethod
    def _answer(self, images: Tensor, questions: list[list[Question]]) -> list[list[Answer]]: ...
