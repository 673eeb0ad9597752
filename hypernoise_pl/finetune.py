"""The baseline: the same rewards, but a LoRA on the generator itself and the noise left alone."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.hypernetwork import LoraOptions, lora_view
from hypernoise_pl.module import HyperNoiseModule
from hypernoise_pl.types import Conditioning


class AdaptedGenerator(nn.Module):
    """A LoRA view of the generator's network, to generate with.

    Args:
        generator: frozen; its network is shared, not copied.
        options: rank, scale and target layers.
    """

    def __init__(self, generator: Generator, options: LoraOptions) -> None:
        super().__init__()
        self.options = options
        self.view = lora_view(generator.network, options, generator.unused_layers)


class FineTuneModule(HyperNoiseModule):
    """Direct LoRA fine-tuning of the generator on the rewards; takes what ``HyperNoiseModule`` takes.

    There is no residual, hence no penalty: the comparison of Eyring et al. 2025, section 4.1.
    """

    adapted = "fine-tuned generator"
    nfe_of_refining = 0

    def adapt(self, generator: Generator, lora: LoraOptions, mode: Literal["residual", "replacing"]) -> Any:
        """The LoRA on the generator."""
        return AdaptedGenerator(generator, lora)

    def refine(self, noise: Tensor, conditioning: Conditioning, strength: float = 1.0) -> Tensor:
        """Zero: the noise stays as it is."""
        return torch.zeros_like(noise)

    def network(self, strength: float) -> nn.Module | None:
        """The adapted view, or the generator's own network at strength 0.

        Raises:
            ValueError: for a strength between, which a noise residual has and an adapted generator has not.
        """
        if strength not in (0.0, 1.0):
            raise ValueError(f"direct fine-tuning has strength 0 or 1, got {strength}")
        view: nn.Module = self.hypernetwork.view
        return view if strength else None
