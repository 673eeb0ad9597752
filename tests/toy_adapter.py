"""An adapter without weights, for tests: its refined noise is a known function of noise and conditioning."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from hypernoise_pl.lora.adapter import Adapter
from hypernoise_pl.types import Conditioning
from tests.toy_generator import prompt_shift


class RefinedBy(Adapter):
    """An adapter without weights that refines noise by a function.

    Args:
        refine: (noise [B, *Z], conditioning) -> refined noise [B, *Z].

    Attributes:
        refined: noises refined so far.
    """

    adapts, label, nfe = "noise", "refined", 1

    def __init__(self, refine: Callable[[Tensor, Conditioning], Tensor]) -> None:
        nn.Module.__init__(self)
        self.refine, self.refined = refine, 0

    def residual(self, noise: Tensor, conditioning: Conditioning, strength: float = 1.0) -> Tensor:
        self.refined += len(noise)
        return strength * (self.refine(noise, conditioning) - noise)

    def network(self, strength: float = 1.0) -> None:
        return None


def go_halfway(noise: Tensor, conditioning: Conditioning) -> Tensor:
    """Noise half way to the one whose image scores best."""
    best = torch.logit(torch.tensor(0.7)) - prompt_shift(conditioning)
    return noise + 0.5 * (best - noise)


def nudge(noise: Tensor, conditioning: Conditioning) -> Tensor:
    """Noise moved by a millionth."""
    return noise + 1e-6 * noise.flip(-1)
