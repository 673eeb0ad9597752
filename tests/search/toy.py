"""A many-step generator whose distribution is known: the exact flow from noise to 8 Gaussians on a circle."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.generators.schedules.base import Schedule
from hypernoise_pl.generators.schedules.flow import UniformEulerFlow
from hypernoise_pl.lora.adapter import Adapter
from hypernoise_pl.types import Conditioning

RADIUS, DEVIATION = 2.0, 0.1
ANGLES = torch.arange(8) * math.pi / 4
MODES = RADIUS * torch.stack([ANGLES.cos(), ANGLES.sin()], 1)  # [8, 2]
ON_DATA = 5 * DEVIATION  # distance from the nearest mode; half way to the next mode is 0.77


class EightGaussians(Generator):
    """Predicts the exact posterior mean of clean latents, the best that a network could learn; reads no prompt."""

    last_layer = ""
    name = "eight gaussians"

    def __init__(self, schedule: Schedule | None = None) -> None:
        super().__init__()
        self.network = nn.Identity()
        self.network.register_parameter("unused", nn.Parameter(torch.zeros(()), requires_grad=False))
        self.noise_shape = (2, 1, 1)
        self.schedule = schedule or UniformEulerFlow()
        self.evaluations = 0

    def _encode(self, prompts: list[str]) -> Conditioning:
        return Conditioning(torch.zeros(len(prompts), 1, 1))

    def _predict(self, network: nn.Module, noise: Tensor, conditioning: Conditioning) -> Tensor:
        return noise

    def _denoise(self, network: nn.Module, state: Tensor, conditioning: Conditioning, t: float) -> Tensor:
        self.evaluations += len(state)
        alpha_t, sigma_t = self.schedule.input_alpha_sigma(t)
        point, modes = state.flatten(1)[:, None], MODES.to(state)  # [B, 1, 2], [8, 2]
        variance = (alpha_t * DEVIATION) ** 2 + sigma_t**2
        away = point - alpha_t * modes
        share = (-away.square().sum(-1) / (2 * variance)).softmax(1)[..., None]  # [B, 8, 1]
        return (share * (modes + alpha_t * DEVIATION**2 / variance * away)).sum(1).view_as(state)

    def _decode(self, latents: Tensor) -> Tensor:
        return latents.repeat_interleave(2, 1)[:, :3]  # three channels, as images have


class RefinedBy(Adapter):
    """An adapter without weights, whose refined noise is a known function of noise and conditioning."""

    adapts, label, nfe = "noise", "refined", 1

    def __init__(self, refine: Callable[[Tensor, Conditioning], Tensor]) -> None:
        nn.Module.__init__(self)
        self.refine = refine

    def residual(self, noise: Tensor, conditioning: Conditioning, strength: float = 1.0) -> Tensor:
        return strength * (self.refine(noise, conditioning) - noise)

    def network(self, strength: float = 1.0) -> None:
        return None


class Generating(RefinedBy):
    """An adapter that leaves the noise alone and generates with a network."""

    nfe = 0

    def __init__(self, network: nn.Module) -> None:
        super().__init__(lambda noise, conditioning: noise)
        self.view = network

    def network(self, strength: float = 1.0) -> nn.Module:
        return self.view


def modes_and_distances(latents: Tensor) -> tuple[Tensor, Tensor]:
    """[B] which mode is nearest to latents [B, 2, 1, 1], and [B] how far away it is."""
    distances = torch.cdist(latents.flatten(1), MODES.to(latents))
    return distances.argmin(1), distances.min(1).values
