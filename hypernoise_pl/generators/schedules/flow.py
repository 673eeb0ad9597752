"""Flow matching: networks that predict the velocity ``noise - clean`` in ``(1 - level) clean + level noise``."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor

from hypernoise_pl.generators.schedules.base import Schedule, solver_order


class Flow(Schedule):
    """What flow matching models have in common, whatever levels they are evaluated at.

    Attributes:
        towards_clean: whether the network's time, and its velocity, go from noise at 0 to clean at 1.

    Source: Lipman et al. 2023 (flow matching, arXiv 2210.02747); Liu et al. 2023 (rectified flow, arXiv 2209.03003).
    """

    towards_clean = False

    def coefficients(self, level: float) -> tuple[float, float]:
        """Of the straight line from clean to noise."""
        return 1 - level, level

    def time(self, level: float) -> float:
        """As the network counts it."""
        return 1 - level if self.towards_clean else level

    def clean(self, state: Tensor, output: Tensor, level: float) -> Tensor:
        """The end of the line."""
        return state + level * output if self.towards_clean else state - level * output


class EvenFlow(Flow):
    """Euler's steps, over even levels."""

    def levels(self, steps: int) -> list[float]:
        """As many as there are steps."""
        return [*(1 - step / steps for step in range(steps)), 0.0]


class EulerFlow(Flow):
    """Euler's steps, over levels that are shifted towards noise, for some models the more the larger an image is.

    Args:
        scheduler: of diffusers, ``FlowMatchEulerDiscreteScheduler``; it is not changed.
        tokens: of one image, as the network sees it.
        even: whether the pipeline asks for even levels before the shift; its scheduler's own are a little different.

    Raises:
        ValueError: if the scheduler is another.

    Source: Esser et al. 2024 (arXiv 2403.03206), section 5.3.2, for shifted levels.
    """

    def __init__(self, scheduler: Any, tokens: int, even: bool = True) -> None:
        found = type(scheduler).__name__
        if found != "FlowMatchEulerDiscreteScheduler" or scheduler.config.invert_sigmas:
            raise ValueError(
                f"scheduler must be a FlowMatchEulerDiscreteScheduler with invert_sigmas off, got a {found}"
            )
        self.scheduler = scheduler
        self.tokens, self.even = tokens, even

    def levels(self, steps: int) -> list[float]:
        """Those of the scheduler.

        Raises:
            ValueError: if it has none for one step.
        """
        config = self.scheduler.config
        walk = copy.deepcopy(self.scheduler)  # it would remember its steps
        if config.shift_terminal and steps == 1:
            raise ValueError("scheduler: with shift_terminal there is no one-step schedule; take 2 steps, or set shift")
        sizes: dict[str, Any] = {}
        if config.use_dynamic_shifting:  # a line through the shifts of two sizes
            slope = (config.max_shift - config.base_shift) / (config.max_image_seq_len - config.base_image_seq_len)
            sizes = {"mu": config.base_shift + slope * (self.tokens - config.base_image_seq_len)}
        if self.even:
            walk.set_timesteps(sigmas=[1 - step / steps for step in range(steps)], **sizes)
        else:
            walk.set_timesteps(steps, **sizes)
        levels: list[float] = walk.sigmas.tolist()
        return levels

    def kept(self, level: float, lower: float) -> float:
        """All, or none where the scheduler is to sample stochastically."""
        return 0.0 if self.scheduler.config.stochastic_sampling else 1.0


class SolverFlow(Flow):
    """DPM-Solver++, over the levels of its scheduler, which begin just below 1.

    Args:
        scheduler: of diffusers, ``DPMSolverMultistepScheduler`` with flow sigmas; it is not changed.

    Raises:
        ValueError: if the scheduler is another, or is set to what is not written here.
    """

    def __init__(self, scheduler: Any) -> None:
        found = type(scheduler).__name__
        if found != "DPMSolverMultistepScheduler" or not scheduler.config.use_flow_sigmas:
            raise ValueError(f"scheduler must be a DPMSolverMultistepScheduler with use_flow_sigmas, got a {found}")
        self.scheduler = scheduler
        self.order = solver_order(self.scheduler.config)
        self._times: dict[float, float] = {}  # of the levels that were asked for

    def levels(self, steps: int) -> list[float]:
        """Those of the scheduler."""
        walk = copy.deepcopy(self.scheduler)
        walk.set_timesteps(steps)
        levels: list[float] = walk.sigmas.tolist()
        self._times |= zip(levels, map(float, walk.timesteps.tolist()))  # rounded from sigmas in double precision
        return levels

    def time(self, level: float) -> float:
        """The scheduler counts in whole timesteps, rounded down."""
        timesteps = self.scheduler.config.num_train_timesteps
        return self._times.get(level, float(min(int(level * timesteps), timesteps - 1)))
