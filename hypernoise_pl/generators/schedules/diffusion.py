"""Variance-preserving diffusion: states ``alpha_t * x0 + sigma_t * noise`` with ``alpha_t ** 2 + sigma_t ** 2 = 1``.

With sigma_t / alpha_t = t / (1 - t), time t is that of flow matching. Below, ``ratio`` is sigma_t / alpha_t, the sigma
of EDM and of diffusers' Euler schedulers. One step from t to ``next_t`` is ``Schedule.step`` with

===================  =================================================  ===============================================
sampler              r of the step alpha_next * x0 + sigma_next *       source
                     (r * noise + sqrt(1 - r ** 2) * fresh)
===================  =================================================  ===============================================
``ddim``             1                                                  Song et al. 2021 (arXiv 2010.02502), eq. 12
``euler``            1                                                  Karras et al. 2022 (EDM, arXiv 2206.00364),
                                                                        Algorithm 1 without its correction
``euler_ancestral``  ratio(next_t) / ratio(t)                           Song et al. 2021, eq. 16 at eta 1
``lcm``              0                                                  Song et al. 2023 (arXiv 2303.01469), Algorithm 1
``tcd``              ratio(earlier_t) / ratio(next_t), where the        Zheng et al. 2024 (TCD, arXiv 2402.19159),
                     timestep of earlier_t is (1 - eta) times that of   strategic stochastic sampling
                     next_t
``dpm``              1, x0 extrapolated at order 2                      Lu et al. 2022 (arXiv 2211.01095), Algorithm 2
===================  =================================================  ===============================================
"""

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
# scheduler settings that change predictions or timesteps and are not implemented here
_UNSUPPORTED = (
    "clip_sample",
    "thresholding",
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "use_lu_lambdas",
)


class Diffusion(Schedule):
    """A diffusion model, sampled as by one of diffusers' schedulers.

    The network's last timestep keeps a little signal. Sampling starts there from noise alone, which is t = 1.

    Args:
        scheduler: diffusers scheduler, one of ``SCHEDULERS``; it is not changed.
        timesteps: decreasing timesteps of the network, used when their count equals the number of steps. Other numbers
            of steps take evenly spaced timesteps from the first of them. None gives the scheduler's own.
        eta: share of fresh noise in TCD, in [0, 1].

    Raises:
        ValueError: if the scheduler has a setting that is not supported, timesteps do not fall or eta is not in [0, 1].
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
            self._ratios = np.sqrt((1 - cumulative) / cumulative)  # sigma / alpha by timestep
        if not np.isfinite(self._ratios).all():
            raise ValueError("scheduler: rescale_betas_zero_snr leaves no signal at the noisiest timestep; turn it off")
        last = len(self._ratios) - 1
        falling = all(high > low for high, low in zip(self.timesteps, self.timesteps[1:]))
        if not falling or not all(0 < timestep <= last for timestep in self.timesteps):
            raise ValueError(f"timesteps must fall and be in 1 to {last}, got {self.timesteps}")
        self.first_t = self._t(self.timesteps[0]) if self.timesteps else 1.0

    def time_grid(self, steps: int) -> list[float]:
        """The times of ``timesteps`` or of the scheduler's timesteps, then 0."""
        if steps == len(self.timesteps):
            timesteps = self.timesteps
        elif self.timesteps:
            timesteps = [round(self.timesteps[0] * (1 - step / steps)) for step in range(steps)]
        else:
            scheduler = copy.deepcopy(self.scheduler)  # set_timesteps changes it
            scheduler.set_timesteps(steps)
            timesteps = [int(timestep) for timestep in scheduler.timesteps]
        return [*(self._t(timestep) for timestep in timesteps), 0.0]

    def alpha_sigma(self, t: float) -> tuple[float, float]:
        """(1 - t, t) divided by their norm."""
        norm = math.hypot(t, 1 - t)
        return (1 - t) / norm, t / norm

    def input_alpha_sigma(self, t: float) -> tuple[float, float]:
        """(alpha_t, sigma_t) of the network; at t = 1 those of the last timestep, which keeps a little signal."""
        ratio = self._ratio(t)
        if self.sampler.startswith("euler"):
            # Euler schedulers start from ratio * noise; the others start from noise of unit variance
            sigma_t = self.alpha_sigma(t)[1]
            return sigma_t / ratio, sigma_t
        norm = math.hypot(1, ratio)
        return 1 / norm, ratio / norm

    def scale_model_input(self, state: Tensor, t: float) -> Tensor:
        """The state divided by sqrt(alpha_t ** 2 + sigma_t ** 2), the standard deviation of the network's inputs."""
        alpha_t, sigma_t = self.input_alpha_sigma(t)
        return state / math.hypot(alpha_t, sigma_t)

    def predict_x0(self, state: Tensor, output: Tensor, t: float) -> Tensor:
        """Clean latents [B, *Z] from predicted noise (``epsilon``) or velocity (``v_prediction``)."""
        alpha_t, sigma_t = self.input_alpha_sigma(t)
        if self.scheduler.config.prediction_type == "epsilon":
            return (state - sigma_t * output) / alpha_t
        norm = math.hypot(alpha_t, sigma_t)
        return (alpha_t / norm * state - sigma_t * output) / norm

    def model_timestep(self, t: float) -> float:
        """The network's timestep, interpolated between whole ones by the logarithm of sigma / alpha."""
        timesteps = np.arange(len(self._ratios))
        return float(np.interp(math.log(self._ratio(t)), np.log(self._ratios), timesteps))

    def noise_retention(self, t: float, next_t: float) -> float:
        """Share r of the sampler, in the table of this module's header."""
        ratio, next_ratio = self._ratio(t), self._ratio(next_t)
        if self.sampler == "lcm":
            return 0.0
        if self.sampler == "euler_ancestral":
            return next_ratio / ratio
        if self.sampler == "tcd":
            if next_t <= self._t(0):
                return 1.0
            earlier = float(self._ratios[math.floor((1 - self.eta) * self.model_timestep(next_t) + 1e-6)])
            return min(earlier / next_ratio, 1.0)
        return 1.0

    def next_times(self, steps: int) -> list[float]:
        """The end time of each step: for DDIM 1000 // steps timesteps lower; for TCD the last is timestep 0."""
        *times, _ = self.time_grid(steps)
        if self.sampler == "tcd":
            return [*times[1:], self._t(0)]
        if self.sampler != "ddim":
            return [*times[1:], 0.0]
        last = 0.0 if self.scheduler.config.set_alpha_to_one else self._t(0)
        if self.timesteps:  # diffusers' DDIM accepts none
            return [*times[1:], last]
        timesteps = [round(self.model_timestep(t)) - len(self._ratios) // steps for t in times]
        return [last if timestep < 0 else self._t(timestep) for timestep in timesteps]

    def _t(self, timestep: int) -> float:
        """Time of a timestep of the network."""
        ratio = float(self._ratios[timestep])
        return 1.0 if timestep == len(self._ratios) - 1 else ratio / (1 + ratio)

    def _ratio(self, t: float) -> float:
        """sigma_t / alpha_t, at most that of the network's last timestep."""
        largest = float(self._ratios[-1])
        return largest if t >= largest / (1 + largest) else t / (1 - t)


def set_scheduler(pipeline: Any, sampler: str | None) -> Any:
    """Give a pipeline the scheduler of a sampler, with trailing timesteps; None keeps the pipeline's own.

    Returns:
        The pipeline's scheduler.

    Raises:
        ValueError: if there is no sampler of that name.
    """
    import diffusers

    if sampler is not None:
        if sampler not in SCHEDULERS:
            raise ValueError(f"sampler must be one of {', '.join(get_args(Sampler))}, got {sampler!r}")
        cls = getattr(diffusers, SCHEDULERS[sampler])
        parameters = inspect.signature(cls.__init__).parameters
        overrides: dict[str, Any] = {key: False for key in _UNSUPPORTED if key in parameters}
        if "final_sigmas_type" in parameters:
            overrides["final_sigmas_type"] = "zero"
        pipeline.scheduler = cls.from_config(pipeline.scheduler.config, timestep_spacing="trailing", **overrides)
    return pipeline.scheduler


def _sampler_of(scheduler: Any) -> str:
    """The sampler's name of a diffusers scheduler."""
    name = type(scheduler).__name__
    sampler = next((sampler for sampler, class_name in SCHEDULERS.items() if class_name == name), None)
    if sampler is None:
        raise ValueError(f"scheduler: {name} is not supported; set sampler to one of {', '.join(SCHEDULERS)}")
    return sampler


def _check(scheduler: Any, sampler: str) -> None:
    """Raise ``ValueError`` for a setting that this module does not implement."""
    config, parameters = scheduler.config, inspect.signature(type(scheduler).__init__).parameters
    for key in _UNSUPPORTED:
        if key in parameters and config.get(key):  # a config keeps keys of the class that it came from
            raise ValueError(f"scheduler: {key} is not supported and must be off; set it to false, or set sampler")
    if config.prediction_type not in ("epsilon", "v_prediction"):
        raise ValueError(f"scheduler: prediction_type must be epsilon or v_prediction, got {config.prediction_type!r}")
    spacings = {"ddim": ("leading", "trailing"), "euler": ("trailing",), "euler_ancestral": ("trailing",)}
    if config.timestep_spacing not in spacings.get(sampler, (config.timestep_spacing,)):
        raise ValueError(
            f"scheduler: with {sampler} timestep_spacing must be {' or '.join(spacings[sampler])}, got "
            f"{config.timestep_spacing!r}; set sampler to {sampler}"
        )
    if "final_sigmas_type" in parameters and config.final_sigmas_type != "zero":
        raise ValueError(f"scheduler: final_sigmas_type must be zero, got {config.final_sigmas_type!r}")
