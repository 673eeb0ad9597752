"""The noise hypernetwork: the generator's own network with LoRA, which predicts a residual for the noise.

Generator and hypernetwork are two module trees over the same frozen Parameters; only the second has LoRA:

    generator.network            hypernetwork.view
      block 1 ----- W1 ------------ block 1 + LoRA
      block 2 ----- W2 ------------ block 2 + LoRA
      last layer -- W3              last layer: LoRA alone, hence f = 0 at the start
           |                            |
      noise to images              noise to residual

One tree with LoRA switched on and off gives wrong gradients: activation checkpointing evaluates blocks again in
backward, when the switch is in the other position; and peft's switch clears ``requires_grad``.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.lora.adapter import Adapter
from hypernoise_pl.lora.view import LoraOptions, ZeroBase
from hypernoise_pl.types import Conditioning


class NoiseHypernetwork(Adapter):
    """f(x0, c): a LoRA view of the generator's network, evaluated once at the first timestep.

    In the last layer the base weight's output is replaced by zeros. LoRA's output is zero at first, hence f = 0.

    Args:
        generator: frozen text-to-image model; its network is shared, not copied.
        lora: rank, scale, first weights and target layers of the LoRA.
        mode: ``residual``: the output is added to the noise. ``absolute``: the output is the new noise; it starts as
            the generator's own raw prediction, and the last layer keeps its base weight.

    Raises:
        ValueError: for another mode, or if the network's last layer is no LoRA target in mode ``residual``.

    Source: Eyring et al. 2025, section 3.3 and its reference implementation.
    """

    adapts = "noise"
    label = "hypernetwork"
    nfe = 1

    def __init__(
        self,
        generator: Generator,
        lora: LoraOptions = LoraOptions(),
        mode: Literal["residual", "absolute"] = "residual",
    ) -> None:
        if mode not in ("residual", "absolute"):
            raise ValueError(f"mode must be residual or absolute, got {mode!r}")
        super().__init__(generator, lora)
        self.mode = mode
        if mode == "residual":
            last: Any = self.view.get_submodule(generator.last_layer)
            if not hasattr(last, "base_layer"):
                raise ValueError(f"the last layer {generator.last_layer!r} must be among the LoRA targets")
            last.base_layer = ZeroBase(last.base_layer)

    def forward(self, noise: Tensor, conditioning: Conditioning) -> Tensor:
        """[B, *Z] the residual f(x0, c) for noise x0 [B, *Z]."""
        return self.through(self.generator, noise, conditioning)

    def through(self, generator: Generator, noise: Tensor, conditioning: Conditioning) -> Tensor:
        """The residual for noise of another size, by another generator object over the same network."""
        output = generator.predict(self.view, noise, conditioning).to(noise.dtype)
        return output if self.mode == "residual" else output - noise

    def residual(self, noise: Tensor, conditioning: Conditioning, strength: float = 1.0) -> Tensor:
        """[B, *Z] strength * f(x0, c); zeros, without an evaluation, at strength 0."""
        return strength * self(noise, conditioning) if strength else torch.zeros_like(noise)

    def network(self, strength: float = 1.0) -> nn.Module | None:
        """None: images are made by the generator's own network."""
        return None
