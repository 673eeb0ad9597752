"""Images as a vision tower wants them, without cutting gradients (transformers' image processors do)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def preprocess(images: Tensor, size: int) -> Tensor:
    """Resize the short side to ``size`` (bicubic, antialiased), crop the centre, normalise with CLIP's constants.

    Args:
        images: [B, 3, H, W] in [0, 1].
        size: pixels a side; images that have it already are not resized.

    Returns:
        [B, 3, size, size].
    """
    height, width = images.shape[-2:]
    if min(height, width) != size:
        scale = size / min(height, width)
        shape = (max(size, round(height * scale)), max(size, round(width * scale)))
        # bicubic overshoots beyond the range that an 8-bit picture could hold
        images = F.interpolate(images, shape, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        height, width = shape
    top, left = (height - size) // 2, (width - size) // 2
    images = images[..., top : top + size, left : left + size]
    mean, std = (
        torch.tensor(v, device=images.device, dtype=images.dtype)[:, None, None] for v in (CLIP_MEAN, CLIP_STD)
    )
    return (images - mean) / std
