"""Sources of training noise, and statistics of Gaussian noise.

A noise is a function of numbers (seed, draw, index), never of a process's random state, its rank or the place in a
batch. One process and many see the same noises, and a resumed run sees those of an uninterrupted run.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def seed_of(*numbers: int) -> int:
    """One seed of 63 bits from several numbers; near numbers give unrelated seeds."""
    digest = hashlib.blake2b(" ".join(map(str, numbers)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def gaussian(shape: Sequence[int], seeds: Sequence[int]) -> Tensor:
    """[B, *Z] standard normal noise, one seed an image, drawn on the CPU in float32 in every run."""
    drawn = {seed: _drawn(shape, seed) for seed in dict.fromkeys(seeds)}
    return torch.stack([drawn[seed] for seed in seeds])


def _drawn(shape: Sequence[int], seed: int) -> Tensor:
    # the type is given: with another default type, as in precision 64-true, a seed would draw other numbers
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float32)


def seeds_from(noise: Tensor) -> list[int]:
    """One seed an image, made from its noise [B, *Z]: for the fresh noise that a sampler adds between steps.

    The same start noise gets the same fresh noise, refined or not, in any process and at any place of a batch.
    """
    rows = noise.detach().float().cpu().contiguous()
    return [
        int.from_bytes(hashlib.blake2b(row.numpy().tobytes(), digest_size=8).digest(), "little") >> 1 for row in rows
    ]


@dataclass(frozen=True)
class NoiseSource(ABC):
    """Source of the noise of a training step.

    Args:
        seed: seed of every noise.
    """

    seed: int = 0

    def __call__(self, shape: Sequence[int], step: int, indices: Sequence[int]) -> Tensor:
        """Draw the noise of a step.

        Args:
            shape: Z, shape of one noise.
            step: optimiser steps done.
            indices: places of the prompts in the training order, one an image.

        Returns:
            [B, *Z] standard normal, float32, on the CPU.
        """
        return gaussian(shape, self._seeds(step, indices))

    @abstractmethod
    def _seeds(self, step: int, indices: Sequence[int]) -> list[int]: ...


@dataclass(frozen=True)
class IndependentNoise(NoiseSource):
    """A fresh noise for every image of every step."""

    def _seeds(self, step: int, indices: Sequence[int]) -> list[int]:
        return [seed_of(self.seed, step, index) for index in indices]


@dataclass(frozen=True)
class SharedNoise(NoiseSource):
    """One noise a step, shared by all prompts, micro-batches and processes (the reference code's choice)."""

    def _seeds(self, step: int, indices: Sequence[int]) -> list[int]:
        return [seed_of(self.seed, step)] * len(indices)


@dataclass(frozen=True)
class FixedNoise(NoiseSource):
    """One noise for all images and steps; the hypernetwork then learns the prompt alone."""

    def _seeds(self, step: int, indices: Sequence[int]) -> list[int]:
        return [seed_of(self.seed)] * len(indices)


@dataclass(frozen=True)
class FixedSetNoise(NoiseSource):
    """One noise of a fixed set for every image.

    Args:
        size: number of noises in the set.
    """

    size: int = 16

    def _seeds(self, step: int, indices: Sequence[int]) -> list[int]:
        return [seed_of(self.seed, seed_of(self.seed, step, index) % self.size) for index in indices]


def typical_norm(d: int) -> tuple[float, float]:
    """Mean and standard deviation of |x| for x ~ N(0, I) in d dimensions (chi distribution); about sqrt(d) and 0.7."""
    mean = math.sqrt(2) * math.exp(math.lgamma((d + 1) / 2) - math.lgamma(d / 2))
    return mean, math.sqrt(max(d - mean * mean, 0.0))


def noise_statistics(noise: Tensor) -> dict[str, Tensor]:
    """Statistics of refined noise; for N(0, I) each is 1, but the mean is 0 and the kurtosis 3.

    Args:
        noise: [B, *Z].

    Returns:
        Scalars: ``norm`` (mean over images, over that of N(0, I)), ``norm_spread`` (its standard deviation over
        images, over that of N(0, I); 0 for one shared noise), ``mean``, ``std`` and ``kurtosis`` of all
        elements.
    """
    flat = noise.detach().flatten(1).float()
    mean, spread = typical_norm(flat.shape[1])
    norm, centred = flat.norm(dim=1), flat - flat.mean()
    return {
        "norm": norm.mean() / mean,
        "norm_spread": norm.std(correction=0) / spread,
        "mean": flat.mean(),
        "std": flat.std(correction=0),
        "kurtosis": centred.pow(4).mean() / centred.square().mean().square(),
    }


def noise_correlations(noise: Tensor, lags: Sequence[int] = (1, 2)) -> dict[str, Tensor]:
    """Correlations of neighbouring places and channels of refined noise; each is 0 for N(0, I) on average.

    Of N(0, I) an autocorrelation has a standard error of 1 / sqrt(pairs), with B C (H - lag) W pairs along the height
    and B C H (W - lag) along the width, and ``cross_channel`` one of about sqrt(2 / pairs of channels) / (B H W). A
    figure beyond four of these is not chance, if the B noises were drawn independently. An autocorrelation subtracts
    the mean of all elements, not each channel's: a shift of a whole channel counts.

    Args:
        noise: [B, C, H, W].
        lags: distances between neighbours, in elements.

    Returns:
        Scalars: ``height_1`` (correlation of elements one below the other, lag 1), ``width_1`` and so on for each lag,
        each in [-1, 1]; ``cross_channel``, the mean over pairs of channels of their squared correlation, less
        1 / (B H W - 1), which white noise has. Lags that the size does not allow are left out; without four axes, all.
    """
    if noise.dim() != 4:
        return {}
    whole = noise.detach().double()
    centred = whole - whole.mean()
    found = {}
    for axis, name in ((2, "height"), (3, "width")):
        for lag in lags:
            if (size := centred.shape[axis] - lag) > 0:
                pair = centred.narrow(axis, 0, size) * centred.narrow(axis, lag, size)
                found[f"{name}_{lag}"] = (pair.mean() / centred.square().mean()).float()
    channels, places = noise.shape[1], noise[:, 0].numel()
    if channels > 1 and places > 1:
        squared = torch.corrcoef(whole.transpose(0, 1).flatten(1)).square()
        pairs = channels * (channels - 1)
        found["cross_channel"] = ((squared.sum() - channels) / pairs - 1 / (places - 1)).float()
    return found
