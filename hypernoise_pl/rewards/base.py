"""The contracts of verifiers, which score images, and of rewards, which are differentiable verifiers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from hypernoise_pl.config.arguments import KeepsArguments
from hypernoise_pl.system.autocast import without_autocast
from hypernoise_pl.types import check_images, check_not_modified, check_shape


class Verifier(KeepsArguments, nn.Module, ABC):
    """Scores images against their prompts; higher is better.

    Attributes:
        score_range: typical lowest and highest score, for axes and alarms; scores are not clipped to it.
    """

    neutral: ClassVar[tuple[str, ...]] = ("checkpoint",)
    score_range: ClassVar[tuple[float, float]]
    _values_checked = False

    def forward(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score images in the verifier's own precision; an outer autocast has no effect.

        Args:
            images: [B, 3, H, W] in [0, 1].
            prompts: B texts.

        Returns:
            [B] scores in float32.

        Raises:
            ValueError: if the shapes do not match, the numbers of prompts, images and scores differ, images are bytes
                or not in [0, 1] (checked on a GPU in the first call only), or the verifier changes the images.
        """
        check_images(images, len(prompts), not self._values_checked or images.device.type == "cpu")
        self._values_checked = True
        if not len(images):
            return images.flatten(1).sum(1).float()
        with without_autocast(images.device), check_not_modified(images, type(self).__name__):
            scores = self._score(images, list(prompts))
        if not isinstance(scores, Tensor):
            raise ValueError(f"{type(self).__name__} must return a tensor of {len(prompts)} scores, got {scores!r}")
        check_shape(f"scores of {type(self).__name__}", scores, (len(prompts),))
        return scores.float()

    def missing(self) -> str | None:
        """The first requirement that is missing, in words; None if the verifier can score."""
        return None

    @abstractmethod
    def _score(self, images: Tensor, prompts: list[str]) -> Tensor: ...


class Reward(Verifier, ABC):
    """A verifier whose score is differentiable in the images."""
