"""Bilinear resizing of bytes, bit-equal to OpenCV's fixed-point arithmetic."""

from __future__ import annotations

import torch
from torch import Tensor

ONE = 2048  # fixed-point 1 of OpenCV's weights


def resize_bilinear(images: Tensor, size: tuple[int, int]) -> Tensor:
    """``cv2.resize`` with ``INTER_LINEAR``, without antialiasing.

    Args:
        images: [..., H, W], whole numbers from 0 to 255.
        size: height and width.

    Returns:
        [..., *size], int32.

    Source: OpenCV 4, ``resize.cpp``; measured: equal to OpenCV 5 on every pixel.
    """
    low, high, share = _places(images.shape[-1], size[1], images.device)
    outside = (low < 0) | (low >= images.shape[-1] - 1)  # OpenCV clamps at the edge of a row only
    first, second = _weights(share.masked_fill(outside, 0))
    pixels = images.to(torch.int32)
    pixels = pixels[..., _kept(low, images.shape[-1])] * first + pixels[..., _kept(high, images.shape[-1])] * second
    low, high, share = _places(images.shape[-2], size[0], images.device)
    first, second = _weights(share[:, None])
    above, below = pixels[..., _kept(low, images.shape[-2]), :], pixels[..., _kept(high, images.shape[-2]), :]
    return ((first * (above >> 4) >> 16) + (second * (below >> 4) >> 16) + 2) >> 2


def _places(old: int, new: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each new pixel, the two neighbouring old pixels and the distance to the first, in [0, 1]."""
    at = ((torch.arange(new, dtype=torch.float64) + 0.5) * (old / new) - 0.5).float().to(device)
    low = at.floor()
    return low.long(), low.long() + 1, at - low


def _weights(share: Tensor) -> tuple[Tensor, Tensor]:
    return ((1 - share) * ONE).round().int(), (share * ONE).round().int()


def _kept(places: Tensor, size: int) -> Tensor:
    return places.clamp(0, size - 1)
