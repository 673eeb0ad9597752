"""Packing of latents into tokens, one for each 2 x 2 patch: the layout of FLUX's and Qwen-Image's pipelines."""

from __future__ import annotations

from torch import Tensor


def pack_latents(latents: Tensor) -> Tensor:
    """Tokens [B, H/2 * W/2, 4 C] from latents [B, C, H, W]; inside a token the channel is the slowest axis."""
    patches = latents.unfold(2, 2, 2).unfold(3, 2, 2)  # [B, C, H/2, W/2, 2, 2]
    return patches.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)


def unpack_latents(tokens: Tensor, height: int, width: int) -> Tensor:
    """Latents [B, C, H, W] from tokens [B, H/2 * W/2, 4 C]."""
    patches = tokens.unflatten(1, (height // 2, width // 2)).unflatten(3, (-1, 2, 2))  # [B, H/2, W/2, C, 2, 2]
    return patches.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)
