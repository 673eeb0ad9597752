"""Images as Qwen2-VL's vision tower wants them: of a size in whole blocks of patches, cut into patches."""

from __future__ import annotations

import math

from torch import Tensor


def block_size(height: int, width: int, block: int, pixels: int) -> tuple[int, int]:
    """Height and width nearest to an image's, in whole blocks, with about so many pixels in all.

    An image whose sides rounded to blocks have that many pixels keeps these; a larger one gets at the most that many, a
    smaller one at the least.

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.
        block: pixels of a block's side; one block is one token of the language model.
        pixels: how many the resized image should have.

    Raises:
        ValueError: if one side is more than 200 times the other.

    Source: Wang et al. 2024 (Qwen2-VL, arXiv 2409.12191); the rule is that of its authors' qwen-vl-utils, where the
    least and the most pixels are the same.
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
    """Cut images into patches, in the order in which ``merge`` x ``merge`` neighbours become one token.

    Args:
        images: [B, 3, H, W], normalised; both sides in whole blocks of ``size * merge`` pixels.
        size: pixels of a patch's side.
        merge: patches of a block's side.
        frames: images of a video that a patch is made of; a still image is repeated.

    Returns:
        [B * H / size * W / size, 3 * frames * size * size].
    """
    batch, channels, height, width = images.shape
    block = size * merge
    cut = images.reshape(batch, channels, height // block, merge, size, width // block, merge, size)
    cut = cut.permute(0, 2, 5, 3, 6, 1, 4, 7)  # image, block's row and column, patch's row and column, channel, pixel
    return cut.unsqueeze(6).expand(*cut.shape[:6], frames, size, size).reshape(-1, channels * frames * size**2)
