"""Small parts of the real kinds, for tests."""

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from hypernoise_pl.generators.sana import SanaSprint
from hypernoise_pl.module import HyperNoiseModule
from hypernoise_pl.rewards.base import Reward
from hypernoise_pl.types import Prompt

PROMPTS = [Prompt("a red circle", index=0), Prompt("three stars in the dark", index=1), Prompt("a ring", index=2)]


class Brightness(Reward):
    """The mean of all pixels."""

    score_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def _score(self, images: Tensor, prompts: list[str]) -> Tensor:
        return images.flatten(1).mean(1)


class Redness(Reward):
    """Red minus the mean of green and blue."""

    score_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def _score(self, images: Tensor, prompts: list[str]) -> Tensor:
        red, green, blue = images.flatten(2).mean(2).unbind(1)
        return red - (green + blue) / 2


def sana(folder: Path) -> SanaSprint:
    return SanaSprint(str(folder), max_sequence_length=20)


def module(folder: Path, kind=HyperNoiseModule, **options) -> HyperNoiseModule:
    torch.manual_seed(0)
    options.setdefault("rewards", {"bright": Brightness(), "red": Redness()})
    options.setdefault("reward_weights", {"bright": 1.0, "red": 0.5})
    return kind(sana(folder), **options)


def randomise(hypernetwork, seed: int = 0) -> None:
    """Give LoRA weights that are not zero."""
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in hypernetwork.parameters():
            if parameter.requires_grad:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=draws))
