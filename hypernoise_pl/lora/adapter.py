"""The contract of an adapter: what trains, and what it changes of a generator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.lora.view import LoraOptions, lora_view
from hypernoise_pl.types import Conditioning


class Adapter(nn.Module, ABC):
    """LoRA over a generator's network. It changes the noise, or the network that makes images of it.

    Args:
        generator: frozen text-to-image model; its network is shared, not copied.
        lora: rank, scale, first weights and target layers of the LoRA.

    Attributes:
        adapts: ``noise`` or ``generator``; adapter folders have this word.
        label: name in tables and pictures.
        nfe: network evaluations per image that the adapter adds.
        mode: how the network's output becomes a residual; None where there is no residual.
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
        """[B, *Z] the residual for noise [B, *Z], times a strength; zeros, without an evaluation, at strength 0."""

    @abstractmethod
    def network(self, strength: float = 1.0) -> nn.Module | None:
        """The network that generates at a strength; None for the generator's own."""

    def settings(self) -> dict[str, Any]:
        """What gives the weights their meaning: what is adapted, mode, rank, alpha and targets."""
        return {
            "adapts": self.adapts,
            "mode": self.mode,
            "rank": self.lora.rank,
            "alpha": self.lora.alpha,
            "targets": self.lora.targets,
        }
