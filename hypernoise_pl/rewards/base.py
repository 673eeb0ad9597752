"""What scores an image: verifiers, and rewards, which are verifiers that let gradients through."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from hypernoise_pl.config.arguments import KeepsArguments
from hypernoise_pl.system.autocast import without_autocast
from hypernoise_pl.types import check_images, check_shape, left_alone


class Verifier(KeepsArguments, nn.Module, ABC):
    """Scores images against their prompts; higher is better.

    Attributes:
        score_range: the scores one meets in practice, for axes and alarms, not for clipping.
    """

    neutral: ClassVar[tuple[str, ...]] = ("checkpoint",)
    score_range: ClassVar[tuple[float, float]]
    _looked = False  # at the values of images

    def forward(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score images, in the precision that the verifier itself was given, whatever autocast says outside.

        Args:
            images: [B, 3, H, W] in [0, 1].
            prompts: B texts.

        Returns:
            [B] scores in float32.

        Raises:
            ValueError: if the shapes do not fit, there is not one prompt an image, or not one score an image; if images
                are bytes, or not in [0, 1] (a GPU is asked at the first call alone); or if it writes into them.
        """
        check_images(images, len(prompts), not self._looked or images.device.type == "cpu")
        self._looked = True
        if not len(images):
            return images.flatten(1).sum(1).float()
        with without_autocast(images.device), left_alone(images, type(self).__name__):
            scores = self._score(images, list(prompts))
        if not isinstance(scores, Tensor):
            raise ValueError(f"{type(self).__name__} must give a tensor of {len(prompts)} scores, got {scores!r}")
        check_shape(f"scores of {type(self).__name__}", scores, (len(prompts),))
        return scores.float()

    def missing(self) -> str | None:
        """What must be there before it can score, in words; None if nothing is missing."""
        return None

    @abstractmethod
    def _score(self, images: Tensor, prompts: list[str]) -> Tensor: ...


class Reward(Verifier, ABC):
    """A verifier that is differentiable in the images, so that it can be trained against."""
