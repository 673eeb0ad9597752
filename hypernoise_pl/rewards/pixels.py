"""Scores computed from pixels without a model: redness, brightness, JPEG size."""

from __future__ import annotations

import io
from math import nan
from typing import ClassVar

import torch
from torch import Tensor

from hypernoise_pl.rewards.base import Reward, Verifier
from hypernoise_pl.system.dtypes import at_least_float32
from hypernoise_pl.types import to_uint8


class Redness(Reward):
    """Mean over pixels of R - (G + B) / 2: 1 for pure red, -1 for cyan. The score ignores the prompt.

    Source: Eyring et al. 2025 (Noise Hypernetworks, arXiv 2508.09968), the redness study.
    """

    score_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def _score(self, images: Tensor, prompts: list[str]) -> Tensor:
        red, green, blue = at_least_float32(images).flatten(2).mean(2).unbind(1)
        return red - (green + blue) / 2


class Brightness(Reward):
    """Mean of all pixels and channels, from 0 (black) to 1 (white). The score ignores the prompt."""

    score_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def _score(self, images: Tensor, prompts: list[str]) -> Tensor:
        return at_least_float32(images).flatten(1).mean(1)


class JPEGSize(Verifier):
    """Size of the image as a JPEG file in units of 1000 bytes, without a gradient. The score ignores the prompt.

    The score is NaN for an image with a value that is not finite.

    Args:
        quality: quality of the JPEG encoder, 1 to 95.
        incompressible: whether the score is the file size (large files win); if not, it is minus the file size.

    Raises:
        ValueError: if the quality is out of range.

    Source: Black et al. 2023 (DDPO, arXiv 2305.13301), compressibility and incompressibility.
    """

    score_range: ClassVar[tuple[float, float]] = (-500.0, 500.0)

    def __init__(self, quality: int = 95, incompressible: bool = False) -> None:
        super().__init__()
        if not 1 <= quality <= 95:
            raise ValueError(f"reward: JPEG quality must be from 1 to 95, got {quality}")
        self.quality, self.sign = quality, 1 if incompressible else -1

    @torch.no_grad()
    def _score(self, images: Tensor, prompts: list[str]) -> Tensor:
        sizes = [self.sign * _bytes(image, self.quality) / 1000 if image.isfinite().all() else nan for image in images]
        return torch.tensor(sizes, device=images.device)


def _bytes(image: Tensor, quality: int) -> int:
    """Length of the JPEG file of an image [3, H, W] in [0, 1]."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(to_uint8(image).numpy()).save(file, format="JPEG", quality=quality)
    return file.tell()
