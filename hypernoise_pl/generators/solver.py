"""How a model of several steps is walked: fresh noise between steps, Euler's or DDIM's steps, or DPM-Solver++ (2M)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.base import SteppedGenerator
from hypernoise_pl.generators.pipeline import at_least_single
from hypernoise_pl.types import Conditioning


class SolverGenerator(SteppedGenerator):
    """A stepped generator whose sampler may solve the equation of the probability flow.

    A step without fresh noise keeps the noise that is in a state and the clean latents seen in it, mixed anew:

        noise = (state - alpha clean) / beta,    next state = alpha' clean + beta' noise

    which is Euler's step for flow matching and DDIM's for diffusion. At order 2 the clean latents are first
    extrapolated, half a step ahead, from the last two that were seen.

    Attributes:
        order: 2, 1, or 0 for fresh noise between steps (consistency models).

    Source: Song et al. 2021 (DDIM), eq. 12 with eta 0; Lu et al. 2022 (DPM-Solver++), Algorithm 2.
    """

    order: int = 1

    def _latents(
        self,
        network: nn.Module,
        noise: Tensor,
        conditioning: Conditioning,
        steps: int,
        seeds: Sequence[int] | None,
    ) -> Tensor:
        if self.order < 2:
            return super()._latents(network, noise, conditioning, steps, seeds)
        state, before, behind = noise, None, 0.0
        for level, lower in itertools.pairwise(self.levels(steps)):
            clean = self._denoise(network, state, conditioning, level)
            if lower > 0:
                ahead = self._signal(lower) - self._signal(level)
                seen = clean if before is None else clean + ahead / (2 * behind) * (clean - before)
                state = self._onward(state, seen, level, lower, None)
                before, behind = clean, ahead
        return clean

    def _onward(
        self, state: Tensor, clean: Tensor, level: float, lower: float, fresh: list[torch.Generator] | None
    ) -> Tensor:
        if self.order == 0:
            return super()._onward(state, clean, level, lower, fresh)
        (alpha, beta), (alpha_lower, beta_lower) = self._coefficients(level), self._coefficients(lower)
        kept = beta_lower / beta
        return kept * state + (alpha_lower - kept * alpha) * clean

    def _signal(self, level: float) -> float:
        """The logarithm of alpha / beta, in whose steps the solver counts."""
        alpha, beta = self._coefficients(level)
        return math.log(alpha / beta)


def guided(
    predict: Callable[[Tensor, Conditioning], Tensor],
    state: Tensor,
    conditioning: Conditioning,
    empty: Callable[[], Conditioning],
    scale: float,
) -> Tensor:
    """A prediction with classifier-free guidance, by doubling the batch; without it at scales up to 1.

    Args:
        predict: of states and their conditioning.
        state: [B, *Z].
        conditioning: of B prompts.
        empty: gives the conditioning of one prompt that asks for nothing.
        scale: 1 follows the prompt, more exaggerates it.

    Returns:
        What ``predict`` returns for B states, in float32 at least.

    Source: Ho and Salimans 2022, eq. 6.
    """
    if scale <= 1:
        return at_least_single(predict(state, conditioning))
    nothing = empty().map(lambda tensor: tensor.to(state.device).expand(len(state), *tensor.shape[1:]))
    both = predict(torch.cat([state, state]), Conditioning.cat([conditioning, nothing]))
    asked, unasked = at_least_single(both).chunk(2)
    return unasked + scale * (asked - unasked)


def solver_order(config: Any) -> int:
    """The order of a diffusers ``DPMSolverMultistepScheduler``, by its config.

    Raises:
        ValueError: if it is another solver than the one written here, with the setting that differs.
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
