"""Variance-preserving diffusion: networks that predict the noise in ``alpha clean + beta noise``."""

from __future__ import annotations

import bisect
import copy
import math
from abc import abstractmethod
from typing import Any

from torch import Tensor, nn

from hypernoise_pl.generators.pipeline import at_least_single
from hypernoise_pl.generators.solver import SolverGenerator, guided, solver_order
from hypernoise_pl.types import Conditioning

# what would change clean predictions or timesteps in a way that is not written here
_UNWANTED = ("clip_sample", "thresholding", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")


class DiffusionGenerator(SolverGenerator):
    """A diffusion model with alpha^2 + beta^2 = 1, walked as its folder's scheduler would.

    The level of a timestep is beta / (alpha + beta), the time of flow matching with the same ratio of noise to signal;
    between timesteps the logarithm of that ratio is interpolated. The last timestep has a little signal in it still, so
    levels start just below 1. A family calls ``_follow`` once and fills in ``_noise_in`` and ``_empty``.

    Attributes:
        first_timestep: what the network is told of pure noise.
        guidance_scale: of classifier-free guidance, which doubles the batch of an evaluation; up to 1 there is none.
    """

    first_timestep: int
    guidance_scale: float

    def _follow(self, scheduler: Any, first_timestep: int | None = None) -> None:
        """Take over a scheduler's timesteps and its way of walking them.

        Args:
            scheduler: DPM-Solver++ or DDIM of diffusers, or LCM's, which adds fresh noise between steps.
            first_timestep: for models distilled to one step, what they are told of pure noise; at more steps timesteps
                fall from it evenly, with fresh noise in between.

        Raises:
            ValueError: if the scheduler does what is not written here.
        """
        config = scheduler.config
        for key in _UNWANTED:
            if config.get(key):
                raise ValueError(f"scheduler: {key} must be off, for the generator to walk as it does")
        if config.prediction_type != "epsilon":
            raise ValueError(f"scheduler: prediction_type must be epsilon, got {config.prediction_type!r}")
        last = config.num_train_timesteps - 1
        if first_timestep is not None and not 0 < first_timestep <= last:
            raise ValueError(f"first_timestep must be from 1 to {last}, got {first_timestep}")
        self.distilled = first_timestep is not None
        self.order = 0 if self.distilled else _order(scheduler)
        self.first_timestep = last if first_timestep is None else first_timestep
        self._scheduler = scheduler
        signal = scheduler.alphas_cumprod.double()
        self._ratios: list[float] = ((1 - signal).log() / 2 - signal.log() / 2).tolist()  # log(beta / alpha), rising

    def levels(self, steps: int) -> list[float]:
        """Those of the scheduler's timesteps."""
        if self.distilled:
            times = [round(self.first_timestep * (1 - step / steps)) for step in range(1, steps)]
            return [1.0, *(self._level(time) for time in times), 0.0]
        scheduler = copy.deepcopy(self._scheduler)  # it would remember its steps
        scheduler.set_timesteps(steps)
        return [*(self._level(time) for time in scheduler.timesteps.tolist()), 0.0]

    def _predict(self, network: nn.Module, noise: Tensor, conditioning: Conditioning) -> Tensor:
        return self._noise_in(network, noise, conditioning, float(self.first_timestep))

    def _denoise(self, network: nn.Module, state: Tensor, conditioning: Conditioning, level: float) -> Tensor:
        level = min(level, self._level(self.first_timestep))
        alpha, beta = self._coefficients(level)
        time = self._timestep(level)

        def predict(states: Tensor, conditionings: Conditioning) -> Tensor:
            return self._noise_in(network, states, conditionings, time)

        noise = guided(predict, state, conditioning, self._empty, self.guidance_scale)
        return (at_least_single(state) - beta * noise) / alpha

    def _coefficients(self, level: float) -> tuple[float, float]:
        norm = math.hypot(1 - level, level)
        return (1 - level) / norm, level / norm

    def _level(self, timestep: int) -> float:
        return 1 / (1 + math.exp(-self._ratios[timestep]))

    def _timestep(self, level: float) -> float:
        """The timestep of a level, with a fraction if it lies between two."""
        ratio = math.log(level / (1 - level))
        above = min(max(bisect.bisect_left(self._ratios, ratio), 1), len(self._ratios) - 1)
        low, high = self._ratios[above - 1], self._ratios[above]
        return above - 1 + min(max((ratio - low) / (high - low), 0.0), 1.0)

    @abstractmethod
    def _noise_in(self, network: nn.Module, state: Tensor, conditioning: Conditioning, timestep: float) -> Tensor:
        """[B, *Z] the noise that the network sees in states, without guidance."""

    @abstractmethod
    def _empty(self) -> Conditioning:
        """The conditioning of one prompt that asks for nothing."""


def _order(scheduler: Any) -> int:
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, LCMScheduler

    config = scheduler.config
    if isinstance(scheduler, DPMSolverMultistepScheduler):
        return solver_order(config)
    if isinstance(scheduler, LCMScheduler):
        return 0
    if not isinstance(scheduler, DDIMScheduler):
        raise ValueError(
            f"scheduler must be DPMSolverMultistepScheduler, DDIMScheduler or LCMScheduler (or set first_timestep), "
            f"got {type(scheduler).__name__}"
        )
    if config.timestep_spacing == "linspace" or not config.set_alpha_to_one:
        raise ValueError("scheduler: DDIM needs a timestep_spacing of leading or trailing, and set_alpha_to_one")
    return 1
