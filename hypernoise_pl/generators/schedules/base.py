"""Schedule: the times of a sampler, alpha_t and sigma_t, and the step from one time to the next.

Time ``t`` is that of flow matching in every family: 1 is noise alone, 0 is clean. A state and its parts are

    x_t = alpha_t * x0 + sigma_t * noise
    noise = (x_t - alpha_t * x0) / sigma_t, with x0 from ``predict_x0``

One step from t to ``next_t`` is, with r from ``noise_retention``:

=====  =====================================================  ======================================================
r      x at next_t                                            source
=====  =====================================================  ======================================================
1      alpha_next * x0 + sigma_next * noise                   Song et al. 2021 (DDIM, arXiv 2010.02502), eq. 12 at
                                                              eta 0; Euler's step of the probability flow
0      alpha_next * x0 + sigma_next * fresh                   Song et al. 2023 (consistency models, arXiv 2303.01469),
                                                              Algorithm 1
r      alpha_next * x0 + sigma_next * (r * noise              Song et al. 2021, eq. 12; its eq. 16 at eta 1 is r of
       + sqrt(1 - r ** 2) * fresh)                            ``ancestral_retention``
=====  =====================================================  ======================================================

At order 2, DPM-Solver++ (2M) (Lu et al. 2022, arXiv 2211.01095, Algorithm 2) first extrapolates x0 from the previous
step's, with h the growth of lambda = log(alpha / sigma) over a step:

    x0 <- x0 + h / (2 * h_previous) * (x0 - x0_previous)
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class PreviousStep:
    """The part of a step that the next one of a multistep solver needs.

    Args:
        x0: [B, *Z] clean latents, as the network predicted them.
        h: growth of lambda = log(alpha / sigma) over the step.
    """

    x0: Tensor
    h: float


class Schedule(ABC):
    """A diffusers scheduler as functions of time t.

    Attributes:
        first_t: time at which a hypernetwork reads the noise.
        order: 1, or 2 for DPM-Solver++ (2M).
    """

    first_t: float = 1.0
    order: int = 1

    @abstractmethod
    def time_grid(self, steps: int) -> list[float]:
        """The times at which the network is evaluated, from the noisiest down, then 0: ``steps + 1`` in all."""

    @abstractmethod
    def alpha_sigma(self, t: float) -> tuple[float, float]:
        """(alpha_t, sigma_t) of the states that steps lead to."""

    @abstractmethod
    def predict_x0(self, state: Tensor, output: Tensor, t: float) -> Tensor:
        """Clean latents [B, *Z] from a state [B, *Z] and the network's output for it."""

    def model_timestep(self, t: float) -> float:
        """Time in the unit of the network's ``timestep`` input."""
        return t

    def scale_model_input(self, state: Tensor, t: float) -> Tensor:
        """A state [B, *Z] scaled as the network's input."""
        return state

    def input_alpha_sigma(self, t: float) -> tuple[float, float]:
        """(alpha_t, sigma_t) that the network assumes; some schedules keep a little signal at the last timestep."""
        return self.alpha_sigma(t)

    def noise_retention(self, t: float, next_t: float) -> float:
        """Share r of the predicted noise that the step from t to ``next_t`` keeps, in [0, 1]."""
        return 1.0

    def next_times(self, steps: int) -> list[float]:
        """The times of the states that the steps lead to; ``time_grid`` without its first, for most samplers."""
        return self.time_grid(steps)[1:]

    def ancestral_retention(self, t: float, next_t: float) -> float:
        """Share r of ancestral sampling (DDIM at eta 1): (sigma / alpha at next_t) / (sigma / alpha at t)."""
        (alpha_t, sigma_t), (alpha_next, sigma_next) = self.input_alpha_sigma(t), self.alpha_sigma(next_t)
        return min(sigma_next * alpha_t / (alpha_next * sigma_t), 1.0)

    def step(
        self,
        state: Tensor,
        x0: Tensor,
        t: float,
        next_t: float,
        previous: PreviousStep | None = None,
        rngs: Sequence[torch.Generator] | None = None,
        retention: float | None = None,
    ) -> tuple[Tensor, PreviousStep]:
        """Take one step of the sampler; the equations are in this module's header.

        Args:
            state: [B, *Z] state at time t.
            x0: [B, *Z] clean latents predicted from the state.
            t: time of the state.
            next_t: time of the next state, one of ``next_times``; 0 gives clean latents.
            previous: second result of the previous step; None at the first.
            rngs: one random generator a row, for the fresh noise; PyTorch's global one if left out.
            retention: share of the predicted noise to keep; the sampler's own if left out.

        Returns:
            The next state [B, *Z], and the ``previous`` of the next step.
        """
        if next_t == 0:
            return x0, PreviousStep(x0, 0.0)
        (alpha_t, sigma_t), (alpha_next, sigma_next) = self.input_alpha_sigma(t), self.alpha_sigma(next_t)
        h, target = self.log_alpha_over_sigma(next_t) - self.log_alpha_over_sigma(t), x0
        if self.order == 2 and previous is not None:
            target = x0 + h / (2 * previous.h) * (x0 - previous.x0)
        retention = self.noise_retention(t, next_t) if retention is None else retention
        noise = retention / sigma_t * (state - alpha_t * target)
        if retention < 1:
            noise = noise + math.sqrt(1 - retention**2) * fresh_noise(target, rngs)
        return alpha_next * target + sigma_next * noise, PreviousStep(x0, h)

    def sample(
        self,
        denoise: Callable[[Tensor, float], Tensor],
        noise: Tensor,
        steps: int,
        rngs: Sequence[torch.Generator] | None = None,
    ) -> Tensor:
        """Clean latents [B, *Z] from noise.

        Args:
            denoise: (state, t) -> clean latents predicted from it.
            noise: [B, *Z] standard normal.
            steps: calls of ``denoise``.
            rngs: one random generator a row, for the fresh noise; PyTorch's global one if left out.
        """
        state, previous = noise, None
        for t, next_t in zip(self.time_grid(steps), self.next_times(steps)):
            state, previous = self.step(state, denoise(state, t), t, next_t, previous, rngs)
        return state

    def log_alpha_over_sigma(self, t: float) -> float:
        """lambda_t = log(alpha_t / sigma_t), DPM-Solver's variable; minus infinity for noise alone."""
        alpha_t, sigma_t = self.input_alpha_sigma(t)
        return math.log(alpha_t / sigma_t) if alpha_t > 0 else -math.inf


def fresh_noise(like: Tensor, rngs: Sequence[torch.Generator] | None) -> Tensor:
    """Standard normal noise of a tensor's shape and dtype, each row from its own random generator if there are any."""
    if rngs is None:
        return torch.randn_like(like)
    return torch.stack([torch.randn(like.shape[1:], generator=rng) for rng in rngs]).to(like)


def solver_order(config: Any) -> int:
    """The order of a diffusers ``DPMSolverMultistepScheduler``.

    Args:
        config: configuration of the scheduler.

    Raises:
        ValueError: if a setting asks for a solver other than DPM-Solver++ of order 1 or 2.
    """
    allowed: dict[str, tuple[Any, ...]] = {
        "algorithm_type": ("dpmsolver++",),
        "solver_order": (1, 2),
        "solver_type": ("midpoint",),
        "final_sigmas_type": ("zero",),
    }
    for key, values in allowed.items():
        if config.get(key) not in values:
            raise ValueError(f"scheduler: {key} must be {' or '.join(map(str, values))}, got {config.get(key)!r}")
    return int(config.solver_order)
