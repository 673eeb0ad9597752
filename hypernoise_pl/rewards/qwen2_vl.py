"""Image preprocessing of Qwen2-VL's vision tower: sizes in whole blocks of patches, and patches."""

from __future__ import annotations

import math

from torch import Tensor


def block_size(height: int, width: int, block: int, pixels: int) -> tuple[int, int]:
    """Height and width in whole blocks, near an image's aspect ratio, with about ``pixels`` pixels.

    If the sides rounded to blocks have exactly ``pixels`` pixels, they are the result; a larger image gets at most that
    many, a smaller image at least that many.

    Args:
        height: height of the image in pixels.
        width: width of the image in pixels.
        block: side of a block in pixels; one block is one token of the language model.
        pixels: target number of pixels.

    Raises:
        ValueError: if one side is more than 200 times the other.

    Source: Wang et al. 2024 (Qwen2-VL, arXiv 2409.12191); the rule of the authors' qwen-vl-utils with equal smallest
    and largest numbers of pixels.
    """
    if max(height, width) > 200 * min(height, width):
        raise ValueError(f"images of {height} x {width} pixels: one side is more than 200 times the other")
    blocks = [max(1, round(side / block)) for side in (height, width)]
    shrink = math.sqrt(height * width / pixels)
    if math.prod(blocks) * block**2 > pixels:
        blocks = [math.floor(side / shrink / block) for side in (height, width)]
    elif math.prod(blocks) * block**2 < pixels:
        blocks = [math.ceil(side / shrink / block) for side in (height, width)]
    return blocks[0] * block, blocks[1] * block


def patches(images: Tensor, size: int, merge: int, frames: int) -> Tensor:
    """Cut images into patches, ordered such that each ``merge`` x ``merge`` block of neighbours is contiguous.

    Args:
        images: [B, 3, H, W], normalised; both sides are multiples of ``size * merge``.
        size: side of a patch in pixels.
        merge: side of a block in patches.
        frames: video frames of a patch; a still image is repeated.

    Returns:
        [B * H / size * W / size, 3 * frames * size * size].
    """
    batch, channels, height, width = images.shape
    block = size * merge
    cut = images.reshape(batch, channels, height // block, merge, size, width // block, merge, size)
    cut = cut.permute(0, 2, 5, 3, 6, 1, 4, 7)  # image, block's row and column, patch's row and column, channel, pixel
    return cut.unsqueeze(6).expand(*cut.shape[:6], frames, size, size).reshape(-1, channels * frames * size**2)
