"""Random numbers of a search, a stream for each prompt."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Streams:
    """B streams of random numbers; a prompt's numbers do not depend on the other prompts of the batch.

    Args:
        seeds: B seeds, one a stream.
        like: [B, *Z] tensor with the size, device and dtype of the numbers.
    """

    def __init__(self, seeds: Sequence[int], like: Tensor) -> None:
        self._streams = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._like = like

    def normal(self, count: int) -> Tensor:
        """[B, N, *Z] standard normal numbers."""
        size = self._like.shape[1:]
        drawn = [torch.stack([torch.randn(size, generator=s) for _ in range(count)]) for s in self._streams]
        return torch.stack(drawn).to(self._like)

    def uniform(self, count: int) -> Tensor:
        """[B, N] numbers uniform in [0, 1)."""
        return torch.stack([torch.rand(count, generator=s) for s in self._streams]).to(self._like)

    def seeds(self, count: int) -> Tensor:
        """[B, N] seeds of fresh noise, int64, on the CPU."""
        return torch.stack([torch.randint(2**63 - 1, (count,), generator=s) for s in self._streams])
