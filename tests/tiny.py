"""Small parts of the real kinds, for tests."""

from functools import partial
from pathlib import Path
from typing import Any

import torch

from hypernoise_pl.generators.sana_sprint import SanaSprint
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.view import LoraOptions
from hypernoise_pl.module import HyperNoiseModule
from hypernoise_pl.rewards.pixels import Brightness, Redness
from hypernoise_pl.types import Prompt

# Between runs in float64 that sum in another order, as a share of a weight's norm: diffusers' RMSNorm and our scores
# are in float32, whose rounding of 6e-8 grows where gradients cancel (1.1e-6 seen). A mistake is larger by far.
DOUBLE = 2e-5

PROMPTS = [Prompt("a red circle", index=0), Prompt("three stars in the dark", index=1), Prompt("a ring", index=2)]


def sana(folder: Path, **options: Any) -> SanaSprint:
    return SanaSprint(str(folder), max_sequence_length=20, **options)


def module(folder: Path, kind=NoiseHypernetwork, lora=LoraOptions(), mode=None, **options) -> HyperNoiseModule:
    """A module on the tiny SANA-Sprint, which trains an adapter of a kind."""
    torch.manual_seed(0)
    options.setdefault("rewards", {"bright": Brightness(), "red": Redness()})
    options.setdefault("reward_weights", {"bright": 1.0, "red": 0.5})
    adapter = partial(kind, lora=lora) if mode is None else partial(kind, lora=lora, mode=mode)
    return HyperNoiseModule(sana(folder), adapter=adapter, **options)


def randomise(hypernetwork, seed: int = 0) -> None:
    """Give LoRA weights that are not zero."""
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in hypernetwork.parameters():
            if parameter.requires_grad:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=draws))
