"""Candidates of a search: noises, each with the seed of the fresh noise that a sampler adds to it between steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hypernoise_pl.noise import seeds_from
from hypernoise_pl.types import check_shape


@dataclass(frozen=True)
class Candidates:
    """N noises of every prompt, and the seeds of their fresh noise.

    A seed belongs to a draw. A noise that a method makes of a draw (a refined noise, a neighbour, an iterate) keeps the
    draw's seed. Images of two such noises then differ by their noises alone.

    Args:
        noise: [B, N, *Z].
        seeds: [B, N] int64, on the CPU.
    """

    noise: Tensor
    seeds: Tensor

    def __post_init__(self) -> None:
        check_shape("seeds", self.seeds, self.noise.shape[:2])

    @classmethod
    def drawn(cls, noise: Tensor) -> Candidates:
        """Candidates of independent draws [B, N, *Z], each with a seed made from itself."""
        seeds = torch.tensor(seeds_from(noise.flatten(0, 1)), dtype=torch.int64)
        return cls(noise, seeds.view(noise.shape[:2]))

    def moved(self, noise: Tensor) -> Candidates:
        """Candidates of other noises [B, M, *Z] that were made of these ones; M is N, or a multiple of it.

        Noises m = n * M / N to (n + 1) * M / N - 1 take the seed of noise n.

        Raises:
            ValueError: if M is no multiple of N.
        """
        own, other = self.noise.shape[1], noise.shape[1]
        if other % own:
            raise ValueError(f"{other} noises a prompt cannot be made of {own}: {other} must be a multiple of {own}")
        return Candidates(noise, self.seeds.repeat_interleave(other // own, 1))

    def __len__(self) -> int:
        return self.noise.shape[1]


def picked(tensor: Tensor, index: Tensor) -> Tensor:
    """[B, K, ...] the entries of a tensor [B, N, ...] at an index [B, K]."""
    shape = (*index.shape, *[1] * (tensor.dim() - 2))
    return tensor.gather(1, index.to(tensor.device).view(shape).expand(*index.shape, *tensor.shape[2:]))
