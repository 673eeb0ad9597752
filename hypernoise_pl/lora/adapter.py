"""The base class of adapters: LoRA weights that train, and their effect on a generator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.lora.view import LoraOptions, lora_view
from hypernoise_pl.types import Conditioning


class Adapter(nn.Module, ABC):
    """LoRA over a generator's network, which changes either the noise or the network that generates images.

    Args:
        generator: frozen text-to-image model; its network is shared, not copied.
        lora: rank, scale, initialisation and target layers of the LoRA.

    Attributes:
        adapts: ``noise`` or ``generator``; stored in adapter folders.
        label: name in tables and pictures.
        nfe: network evaluations per image that the adapter adds.
        mode: conversion of the network's output to a residual; None without a residual.
        view: generator's network with LoRA, a second module tree over the same frozen Parameters.
    """

    adapts: ClassVar[str]
    label: ClassVar[str]
    nfe: ClassVar[int]
    mode: str | None = None

    def __init__(self, generator: Generator, lora: LoraOptions = LoraOptions()) -> None:
        super().__init__()
        object.__setattr__(self, "generator", generator)  # not a submodule: its weights belong to another module
        self.generator: Generator
        self.lora = lora
        self.view: nn.Module = lora_view(generator.network, lora, generator.unused_layers)

    @abstractmethod
    def residual(self, noise: Tensor, conditioning: Conditioning, strength: float = 1.0) -> Tensor:
        """The residual [B, *Z] for noise [B, *Z], times a strength; zeros, without an evaluation, at strength 0."""

    @abstractmethod
    def network(self, strength: float = 1.0) -> nn.Module | None:
        """The network that generates images at a strength; None for the generator's own."""

    def settings(self) -> dict[str, Any]:
        """The settings that the weights depend on: what is adapted, mode, rank, alpha and targets."""
        return {
            "adapts": self.adapts,
            "mode": self.mode,
            "rank": self.lora.rank,
            "alpha": self.lora.alpha,
            "targets": self.lora.targets,
        }
