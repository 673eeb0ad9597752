"""Direct LoRA fine-tuning of the generator, the baseline."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hypernoise_pl.lora.adapter import Adapter
from hypernoise_pl.types import Conditioning


class GeneratorLora(Adapter):
    """LoRA on the generator itself. The noise is unchanged: there is no residual and no penalty.

    Args:
        generator: frozen text-to-image model; its network is shared, not copied.
        lora: rank, scale, initialisation and target layers of the LoRA.

    Source: the baseline of Eyring et al. 2025, section 4.1.
    """

    adapts = "generator"
    label = "fine-tuned generator"
    nfe = 0

    def residual(self, noise: Tensor, conditioning: Conditioning, strength: float = 1.0) -> Tensor:
        """Return zeros [B, *Z]."""
        return torch.zeros_like(noise)

    def network(self, strength: float = 1.0) -> nn.Module | None:
        """The view with LoRA at strength 1, the generator's own network (None) at strength 0.

        Raises:
            ValueError: if the strength is neither 0 nor 1; a network cannot be scaled.
        """
        if strength not in (0.0, 1.0):
            raise ValueError(f"direct fine-tuning has strength 0 or 1, got {strength}")
        return self.view if strength else None
