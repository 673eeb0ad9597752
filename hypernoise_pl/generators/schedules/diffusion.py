"""Variance-preserving diffusion: networks that see ``alpha clean + beta noise`` with alpha² + beta² = 1."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from torch import Tensor

from hypernoise_pl.generators.schedules.base import Schedule, solver_order

Sampler = Literal["ddim", "dpm", "euler", "euler_ancestral", "lcm", "tcd"]

SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "dpm": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler_ancestral": "EulerAncestralDiscreteScheduler",
    "lcm": "LCMScheduler",
    "tcd": "TCDScheduler",
}
# what would change clean predictions or timesteps in a way that is not written here
_UNWANTED = (
    "clip_sample",
    "thresholding",
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "use_lu_lambdas",
)


class Diffusion(Schedule):
    """A diffusion model, walked as one of diffusers' schedulers would.

    With sigma = beta / alpha a level is sigma / (1 + sigma), the time of flow matching with the same ratio of noise to
    clean. The last of the network's timesteps has a little of the clean image in it still; a walk starts there from
    noise alone, which is level 1. A sampler goes from sigma to a lower one by ``clean + down * noise seen +
    (lower² - down²)^½ * fresh noise``, and samplers differ in ``down``, besides the order of DPM-Solver++.

    Args:
        scheduler: of diffusers, one of ``SCHEDULERS``; it is not changed.
        timesteps: falling, to walk by where there are as many steps; at other numbers of steps they fall evenly from
            the first of them. The scheduler's own where none are given.
        eta: share of fresh noise in TCD, in [0, 1].

    Raises:
        ValueError: if the scheduler does what is not written here, timesteps do not fall or eta is not in [0, 1].

    Source: Karras et al. 2022 (EDM, arXiv 2206.00364) for sigmas; Song et al. 2023 (consistency models, arXiv
        2303.01469) and Zheng et al. 2024 (TCD, arXiv 2402.19159) for the samplers of the same names.
    """

    def __init__(self, scheduler: Any, timesteps: Sequence[int] | None = None, eta: float = 1.0) -> None:
        if not 0 <= eta <= 1:
            raise ValueError(f"eta must be in [0, 1], got {eta}")
        self.sampler = _sampler_of(scheduler)
        _check(scheduler, self.sampler)
        if self.sampler == "dpm":
            self.order = solver_order(scheduler.config)
        self.scheduler, self.timesteps, self.eta = scheduler, list(timesteps or []), eta
        cumulative = scheduler.alphas_cumprod.double().numpy()
        with np.errstate(divide="ignore"):
            self._sigmas = np.sqrt((1 - cumulative) / cumulative)
        if not np.isfinite(self._sigmas).all():
            raise ValueError("scheduler: rescale_betas_zero_snr leaves no signal at the noisiest timestep; turn it off")
        last = len(self._sigmas) - 1
        falling = all(high > low for high, low in zip(self.timesteps, self.timesteps[1:]))
        if not falling or not all(0 < time <= last for time in self.timesteps):
            raise ValueError(f"timesteps must fall and be in 1 to {last}, got {self.timesteps}")
        self.first = self._level(self.timesteps[0]) if self.timesteps else 1.0

    def levels(self, steps: int) -> list[float]:
        """Those of the timesteps."""
        if steps == len(self.timesteps):
            times = self.timesteps
        elif self.timesteps:
            times = [round(self.timesteps[0] * (1 - step / steps)) for step in range(steps)]
        else:
            walk = copy.deepcopy(self.scheduler)  # it would remember its steps
            walk.set_timesteps(steps)
            times = [int(time) for time in walk.timesteps]
        return [*(self._level(time) for time in times), 0.0]

    def coefficients(self, level: float) -> tuple[float, float]:
        """On the unit circle."""
        norm = math.hypot(level, 1 - level)
        return (1 - level) / norm, level / norm

    def read(self, level: float) -> tuple[float, float]:
        """Those of the last timestep for noise alone."""
        sigma = self._sigma(level)
        if self.sampler.startswith("euler"):
            # these start from sigma times the noise, the others from noise of the same variance as later states
            beta = self.coefficients(level)[1]
            return beta / sigma, beta
        norm = math.hypot(1, sigma)
        return 1 / norm, sigma / norm

    def scaled(self, state: Tensor, level: float) -> Tensor:
        """Of the variance that the network knows."""
        alpha, beta = self.read(level)
        return state / math.hypot(alpha, beta)

    def clean(self, state: Tensor, output: Tensor, level: float) -> Tensor:
        """By the noise in a state, or by its velocity on the circle."""
        alpha, beta = self.read(level)
        if self.scheduler.config.prediction_type == "epsilon":
            return (state - beta * output) / alpha
        norm = math.hypot(alpha, beta)
        return (alpha / norm * state - beta * output) / norm

    def time(self, level: float) -> float:
        """The timestep of a level, between whole ones where need be."""
        times = np.arange(len(self._sigmas))
        return float(np.interp(math.log(self._sigma(level)), np.log(self._sigmas), times))

    def kept(self, level: float, lower: float) -> float:
        """As the sampler has it."""
        sigma, low = self._sigma(level), self._sigma(lower)
        if self.sampler == "lcm":
            return 0.0
        if self.sampler == "euler_ancestral":
            return low / sigma
        if self.sampler == "tcd":
            if lower <= self._level(0):
                return 1.0
            down = float(self._sigmas[math.floor((1 - self.eta) * self.time(lower) + 1e-6)])
            return min(down / low, 1.0)
        return 1.0

    def ends(self, steps: int) -> list[float]:
        """DDIM steps down by 1000 // steps timesteps, wherever the next evaluation is; TCD ends at timestep 0."""
        *levels, _ = self.levels(steps)
        if self.sampler == "tcd":
            return [*levels[1:], self._level(0)]
        if self.sampler != "ddim":
            return [*levels[1:], 0.0]
        last = 0.0 if self.scheduler.config.set_alpha_to_one else self._level(0)
        if self.timesteps:  # diffusers' DDIM takes none
            return [*levels[1:], last]
        times = [round(self.time(level)) - len(self._sigmas) // steps for level in levels]
        return [last if time < 0 else self._level(time) for time in times]

    def _level(self, time: int) -> float:
        sigma = float(self._sigmas[time])
        return 1.0 if time == len(self._sigmas) - 1 else sigma / (1 + sigma)

    def _sigma(self, level: float) -> float:
        """The sigma of a level, at the most the largest that the network knows."""
        largest = float(self._sigmas[-1])
        return largest if level >= largest / (1 + largest) else level / (1 - level)


def resample(pipeline: Any, sampler: str | None) -> Any:
    """Give a pipeline the scheduler of a sampler, which starts at the noisiest timestep; None leaves it its own.

    Returns:
        The scheduler.

    Raises:
        ValueError: if there is no such sampler.
    """
    import diffusers

    if sampler is not None:
        if sampler not in SCHEDULERS:
            raise ValueError(f"sampler must be one of {', '.join(get_args(Sampler))}, got {sampler!r}")
        kind = getattr(diffusers, SCHEDULERS[sampler])
        known = inspect.signature(kind.__init__).parameters
        off: dict[str, Any] = {key: False for key in _UNWANTED if key in known}
        if "final_sigmas_type" in known:
            off["final_sigmas_type"] = "zero"
        pipeline.scheduler = kind.from_config(pipeline.scheduler.config, timestep_spacing="trailing", **off)
    return pipeline.scheduler


def _sampler_of(scheduler: Any) -> str:
    found = type(scheduler).__name__
    sampler = next((sampler for sampler, kind in SCHEDULERS.items() if kind == found), None)
    if sampler is None:
        raise ValueError(
            f"scheduler: a {found} is not known; set sampler to one of {', '.join(SCHEDULERS)}, to walk by that instead"
        )
    return sampler


def _check(scheduler: Any, sampler: str) -> None:
    config, known = scheduler.config, inspect.signature(type(scheduler).__init__).parameters
    for key in _UNWANTED:
        if key in known and config.get(key):  # a config keeps keys of the class that it came from
            raise ValueError(f"scheduler: {key} must be off, for the generator to walk as it does; or set sampler")
    if config.prediction_type not in ("epsilon", "v_prediction"):
        raise ValueError(f"scheduler: prediction_type must be epsilon or v_prediction, got {config.prediction_type!r}")
    spacings = {"ddim": ("leading", "trailing"), "euler": ("trailing",), "euler_ancestral": ("trailing",)}
    if config.timestep_spacing not in spacings.get(sampler, (config.timestep_spacing,)):
        raise ValueError(
            f"scheduler: with {sampler} timestep_spacing must be {' or '.join(spacings[sampler])}, got "
            f"{config.timestep_spacing!r}; set sampler to {sampler}"
        )
    if "final_sigmas_type" in known and config.final_sigmas_type != "zero":
        raise ValueError(f"scheduler: final_sigmas_type must be zero, got {config.final_sigmas_type!r}")
