"""Flow matching: networks that predict the velocity ``noise - clean`` in ``(1 - level) clean + level noise``."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Any

from torch import Tensor, nn

from hypernoise_pl.generators.pipeline import at_least_single
from hypernoise_pl.generators.solver import SolverGenerator
from hypernoise_pl.types import Conditioning


class FlowGenerator(SolverGenerator):
    """A flow matching model; a family fills in ``levels`` and ``_velocity``.

    Source: Lipman et al. 2023 (flow matching); Liu et al. 2023 (rectified flow).
    """

    def _denoise(self, network: nn.Module, state: Tensor, conditioning: Conditioning, level: float) -> Tensor:
        velocity = at_least_single(self._velocity(network, state, conditioning, level))
        return at_least_single(state) - level * velocity

    def _coefficients(self, level: float) -> tuple[float, float]:
        return 1 - level, level

    @abstractmethod
    def _velocity(self, network: nn.Module, state: Tensor, conditioning: Conditioning, level: float) -> Tensor:
        """[B, *Z] the velocity in states, with guidance if the family has some."""


def euler_levels(scheduler: Any, steps: int, tokens: int) -> list[float]:
    """The levels of a diffusers ``FlowMatchEulerDiscreteScheduler``, shifted for an image's size where it says so.

    Args:
        scheduler: is not changed.
        steps: network evaluations.
        tokens: of one image, as its network sees it.

    Raises:
        ValueError: if the scheduler is another, or adds noise.
    """
    from diffusers import FlowMatchEulerDiscreteScheduler

    config = scheduler.config
    if not isinstance(scheduler, FlowMatchEulerDiscreteScheduler) or config.stochastic_sampling or config.invert_sigmas:
        raise ValueError(
            f"scheduler must be a FlowMatchEulerDiscreteScheduler with stochastic_sampling and invert_sigmas off, got "
            f"{type(scheduler).__name__}"
        )
    if config.shift_terminal and steps == 1:
        raise ValueError("scheduler: with shift_terminal there is no one-step schedule; take 2 steps, or set shift")
    slope = (config.max_shift - config.base_shift) / (config.max_image_seq_len - config.base_image_seq_len)
    walk: Any = copy.deepcopy(scheduler)  # it would remember its steps
    even = [1 - step / steps for step in range(steps)]
    walk.set_timesteps(sigmas=even, mu=config.base_shift + slope * (tokens - config.base_image_seq_len))
    levels: list[float] = walk.sigmas.tolist()
    return levels
