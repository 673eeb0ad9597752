"""Latents as tokens, one a patch of two by two: the order of FLUX's and Qwen-Image's pipelines."""

from __future__ import annotations

from torch import Tensor


def packed(latents: Tensor) -> Tensor:
    """Tokens [B, H/2 * W/2, 4 C] of latents [B, C, H, W]: one a patch of two by two, channels first inside it."""
    patches = latents.unfold(2, 2, 2).unfold(3, 2, 2)  # [B, C, H/2, W/2, 2, 2]
    return patches.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)


def unpacked(tokens: Tensor, height: int, width: int) -> Tensor:
    """Latents [B, C, H, W] of tokens."""
    patches = tokens.unflatten(1, (height // 2, width // 2)).unflatten(3, (-1, 2, 2))  # [B, H/2, W/2, C, 2, 2]
    return patches.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)
