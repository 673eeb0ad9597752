"""Variance-preserving diffusion: what Stable Diffusion and its distillations share, whatever sampler they want."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from hypernoise_pl.generators.base import SteppedGenerator, fresh_noise
from hypernoise_pl.generators.pipeline import at_least_single
from hypernoise_pl.types import Conditioning

Sampler = Literal["euler", "euler_ancestral", "lcm", "tcd"]

_SCHEDULERS = {
    "euler": "EulerDiscreteScheduler",
    "euler_ancestral": "EulerAncestralDiscreteScheduler",
    "lcm": "LCMScheduler",
    "tcd": "TCDScheduler",
}


class VariancePreservingGenerator(SteppedGenerator):
    """A network trained on ``alpha * clean + beta * noise`` with alpha² + beta² = 1, told an integer time.

    With sigma = beta / alpha, a level is sigma / (1 + sigma): the time of flow matching with the same ratio of noise
    to clean. The last of the network's times still has a little of the clean image in it; a walk starts there from
    noise alone, which is level 1. A sampler goes from sigma to a lower one by ``clean + down * noise seen +
    (lower² - down²)^½ * fresh noise``, and samplers differ only in ``down``.

    Source: Karras et al. 2022 (EDM, arXiv 2206.00364) for sigmas; Song et al. 2023 (consistency models, arXiv
        2303.01469) and Zheng et al. 2024 (TCD, arXiv 2402.19159) for the samplers of the same names.
    """

    def _set_sampler(self, pipeline: Any, sampler: str, timesteps: Sequence[int] | None, eta: float) -> None:
        """Give the pipeline its sampler, and remember the network's sigmas and times.

        Raises:
            ValueError: if there is no such sampler, times do not fall, eta is not in [0, 1] or the network's config
                is of a kind that is not supported.
        """
        import diffusers

        if sampler not in get_args(Sampler):
            raise ValueError(f"sampler must be one of {', '.join(get_args(Sampler))}, got {sampler!r}")
        if not 0 <= eta <= 1:
            raise ValueError(f"eta must be in [0, 1], got {eta}")
        kind = getattr(diffusers, _SCHEDULERS[sampler])
        self.scheduler = pipeline.scheduler = kind.from_config(pipeline.scheduler.config, timestep_spacing="trailing")
        self.sampler, self.eta = sampler, eta
        cumulative = self.scheduler.alphas_cumprod.double().numpy()
        self._sigmas = np.sqrt((1 - cumulative) / cumulative)
        self.timesteps = list(timesteps or [])
        last = len(self._sigmas) - 1
        falling = all(high > low for high, low in zip(self.timesteps, self.timesteps[1:]))
        if not falling or not all(0 <= time <= last for time in self.timesteps):
            raise ValueError(f"timesteps must fall and be in 0 to {last}, got {self.timesteps}")
        self._predicts = self.scheduler.config.prediction_type
        if self._predicts not in ("epsilon", "v_prediction"):
            raise ValueError(f"a network that predicts {self._predicts!r} is not supported")

    @classmethod
    def settings_of(cls, pipeline: Any) -> dict[str, Any]:
        """The sampler that its scheduler is; the family's own where it is none of them."""
        found = type(pipeline.scheduler).__name__
        known = {scheduler: sampler for sampler, scheduler in _SCHEDULERS.items()}
        return {"sampler": known[found]} if found in known else {}

    def levels(self, steps: int) -> list[float]:
        """The pipeline's own times, or the ones that were given where they are as many, as levels."""
        if steps == len(self.timesteps):
            times = self.timesteps
        else:
            self.scheduler.set_timesteps(steps)
            times = [int(time) for time in self.scheduler.timesteps]
        return [*(self._level(time) for time in times), 0.0]

    @abstractmethod
    def _evaluate(self, network: nn.Module, state: Tensor, conditioning: Conditioning, time: float) -> Tensor:
        """The network's raw output for its own input at its own time."""

    def _predict(self, network: nn.Module, noise: Tensor, conditioning: Conditioning) -> Tensor:
        level = self._level(self.timesteps[0]) if self.timesteps else 1.0
        sigma = self._sigma(level)
        scaled = self._sample(noise, level, sigma) / math.hypot(1, sigma)
        return self._evaluate(network, scaled, conditioning, self._time(sigma))

    def _denoise(self, network: nn.Module, state: Tensor, conditioning: Conditioning, level: float) -> Tensor:
        sigma = self._sigma(level)
        sample, norm = self._sample(state, level, sigma), math.hypot(1, sigma)
        out = at_least_single(self._evaluate(network, sample / norm, conditioning, self._time(sigma)))
        if self._predicts == "epsilon":
            return sample - sigma * out
        return sample / norm**2 - sigma / norm * out

    def _coefficients(self, level: float) -> tuple[float, float]:
        norm = math.hypot(level, 1 - level)
        return (1 - level) / norm, level / norm

    def _onward(
        self, state: Tensor, clean: Tensor, level: float, lower: float, fresh: list[torch.Generator] | None
    ) -> Tensor:
        sigma, low = self._sigma(level), self._sigma(lower)
        noise = (self._sample(state, level, sigma) - clean) / sigma
        down = self._down(sigma, low)
        noise = down / low * noise
        if down < low:
            noise = noise + math.sqrt(1 - (down / low) ** 2) * fresh_noise(clean, fresh)
        return self.mix(clean, noise, lower)

    def _finish(self, state: Tensor, clean: Tensor, level: float) -> Tensor:
        if self.sampler != "tcd":
            return clean
        # TCD ends at time 0, whose sigma is small but not nothing
        sigma, end = self._sigma(level), float(self._sigmas[0])
        noise = (self._sample(state, level, sigma) - clean) / sigma
        return (clean + end * noise) / math.hypot(1, end)

    def _down(self, sigma: float, low: float) -> float:
        if self.sampler == "euler":
            return low
        if self.sampler == "euler_ancestral":
            return low * low / sigma
        if self.sampler == "lcm":
            return 0.0
        return min(float(self._sigmas[math.floor((1 - self.eta) * self._time(low) + 1e-6)]), low)

    def _sample(self, state: Tensor, level: float, sigma: float) -> Tensor:
        """A state as ``clean + sigma * noise``."""
        beta = self._coefficients(level)[1]
        # Euler's samplers start from sigma times the noise, the others from noise of the same variance as later states
        scale = sigma / beta if self.sampler.startswith("euler") else math.hypot(1, sigma)
        return at_least_single(state) * scale

    def _level(self, time: int) -> float:
        sigma = float(self._sigmas[time])
        return 1.0 if time == len(self._sigmas) - 1 else sigma / (1 + sigma)

    def _sigma(self, level: float) -> float:
        """The sigma of a level, at the most the largest that the network knows."""
        largest = float(self._sigmas[-1])
        return largest if level >= largest / (1 + largest) else level / (1 - level)

    def _time(self, sigma: float) -> float:
        """The network's time at a sigma, between the integer ones where need be."""
        times = np.arange(len(self._sigmas))
        return float(np.interp(math.log(sigma), np.log(self._sigmas), times))
