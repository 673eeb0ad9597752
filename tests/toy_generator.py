"""Generators without weights, for tests: one whose image is a smooth function of its noise, one of known distribution."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.generators.schedules.base import Schedule
from hypernoise_pl.generators.schedules.flow import Flow, UniformEulerFlow
from hypernoise_pl.types import Conditioning

PROMPTS = ["a", "bb", "ccc"]
RADIUS, DEVIATION = 2.0, 0.1
ANGLES = torch.arange(8) * math.pi / 4
MODES = RADIUS * torch.stack([ANGLES.cos(), ANGLES.sin()], 1)  # [8, 2]
ON_DATA = 5 * DEVIATION  # distance from the nearest mode; half way to the next mode is 0.77


class FreshNoiseFlow(Flow):
    """Uniform times, with fresh noise between steps."""

    def time_grid(self, steps: int) -> list[float]:
        return [1 - step / steps for step in range(steps)] + [0.0]

    def noise_retention(self, t: float, next_t: float) -> float:
        return 0.0


class ToyGenerator(Generator):
    """Predicts x0 = (1 - shrink * t) * x_t + 0.1 * letters of the prompt; the image is the sigmoid of x0.

    Args:
        noise_shape: Z.
        shrink: share of the state that is lost at t = 1; 0 for a picture of the noise itself.
        schedule: schedule; ``FreshNoiseFlow`` if left out.
        width: D, features of a letter.

    Attributes:
        evaluations: states denoised so far.
    """

    last_layer = ""
    name = "toy"

    def __init__(
        self,
        noise_shape: tuple[int, ...] = (3, 4, 4),
        shrink: float = 0.0,
        schedule: Schedule | None = None,
        width: int = 5,
    ) -> None:
        super().__init__()
        self.network = nn.Identity()
        self.noise_shape, self.shrink, self.schedule = noise_shape, shrink, schedule or FreshNoiseFlow()
        self.letters = torch.randn(128, width, generator=torch.Generator().manual_seed(0))
        self.evaluations = 0

    def _encode(self, prompts: list[str]) -> Conditioning:
        codes = [torch.tensor([ord(letter) % 128 for letter in prompt]) for prompt in prompts]
        tokens = nn.utils.rnn.pad_sequence(codes, batch_first=True)
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        return Conditioning(self.letters[tokens], (torch.arange(tokens.shape[1]) < lengths[:, None]).long())

    def _predict(self, network: nn.Module, noise: Tensor, conditioning: Conditioning) -> Tensor:
        return noise

    def _denoise(self, network: nn.Module, state: Tensor, conditioning: Conditioning, t: float) -> Tensor:
        self.evaluations += len(state)
        return state * (1 - self.shrink * t) + prompt_shift(conditioning)

    def _decode(self, latents: Tensor) -> Tensor:
        return torch.sigmoid(latents)


class EightGaussians(Generator):
    """The exact flow from noise to 8 Gaussians on a circle; reads no prompt.

    It is a class of its own: it predicts the posterior mean of x0, the best that a network could learn, and its
    distribution is known in closed form.
    """

    last_layer = ""
    name = "eight gaussians"

    def __init__(self, schedule: Schedule | None = None) -> None:
        super().__init__()
        self.network = nn.Identity()
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


def prompt_shift(conditioning: Conditioning) -> Tensor:
    """[B, 1, 1, 1] the part of a toy's latents that its prompt adds: 0.1 a letter."""
    assert conditioning.mask is not None
    return 0.1 * conditioning.mask.sum(1).float().view(-1, 1, 1, 1)


def brightness(images: Tensor, prompts: list[str]) -> Tensor:
    """[B] scores; the best, 0, at 0.7 in every pixel."""
    return -(images - 0.7).square().flatten(1).mean(1)


def start_noise(count: int = len(PROMPTS), *shape: int) -> Tensor:
    """[B, *Z] the same noises every time; the toy's shape if none is given."""
    return torch.randn(count, *(shape or (3, 4, 4)), generator=torch.Generator().manual_seed(0))


def modes_and_distances(latents: Tensor) -> tuple[Tensor, Tensor]:
    """[B] index of the mode nearest to latents [B, 2, 1, 1], and [B] the distance from it."""
    distances = torch.cdist(latents.flatten(1), MODES.to(latents))
    return distances.argmin(1), distances.min(1).values
