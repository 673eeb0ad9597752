"""Schedules of flow matching, whose networks predict the velocity ``noise - x0``.

A state is ``x_t = (1 - t) * x0 + t * noise``. One step from t to ``next_t``, with v the network's output:

=====================  ==========================================  ===================================================
schedule               step                                        source
=====================  ==========================================  ===================================================
``UniformEulerFlow``   x_t + (next_t - t) * v, at uniform times    Lipman et al. 2023 (flow matching, arXiv
                                                                   2210.02747), eq. 1, by Euler's method
``EulerFlow``          x_t + (next_t - t) * v, at shifted times    Esser et al. 2024 (arXiv 2403.03206), section 5.3.2
``DPMSolverFlow``      DPM-Solver++ (2M) with x0 = x_t - t * v     Lu et al. 2022 (arXiv 2211.01095), Algorithm 2
=====================  ==========================================  ===================================================

``Schedule.step`` with ``x0 = x_t - t * v`` and all noise kept is Euler's step. Straight paths are those of rectified
flow (Liu et al. 2023, arXiv 2209.03003).
"""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor

from hypernoise_pl.generators.schedules.base import Schedule, solver_order


class Flow(Schedule):
    """Flow matching at any times; a subclass says at which.

    Args:
        reversed_time: True for a network whose time goes from noise at 0 to clean at 1, and whose velocity is
            ``x0 - noise``.
    """

    def __init__(self, reversed_time: bool = False) -> None:
        self.reversed_time = reversed_time

    def alpha_sigma(self, t: float) -> tuple[float, float]:
        """(1 - t, t)."""
        return 1 - t, t

    def model_timestep(self, t: float) -> float:
        """t, or 1 - t for a network of reversed time."""
        return 1 - t if self.reversed_time else t

    def predict_x0(self, state: Tensor, output: Tensor, t: float) -> Tensor:
        """Clean latents [B, *Z]: x_t - t * v."""
        return state + t * output if self.reversed_time else state - t * output


class UniformEulerFlow(Flow):
    """Euler's method over uniform times."""

    def time_grid(self, steps: int) -> list[float]:
        """1, 1 - 1 / steps, ..., 0."""
        return [*(1 - step / steps for step in range(steps)), 0.0]


class EulerFlow(Flow):
    """Euler's method over times shifted towards noise; some models shift larger images more.

    Args:
        scheduler: diffusers ``FlowMatchEulerDiscreteScheduler``; it is not changed.
        tokens: number of the network's tokens of one image.
        uniform: whether the pipeline passes uniform times to the scheduler before the shift; the scheduler's own
            differ a little.
        reversed_time: whether the network counts time from 0 at noise to 1 at clean latents.

    Raises:
        ValueError: if the scheduler is of another class or inverts its sigmas.
    """

    def __init__(self, scheduler: Any, tokens: int, uniform: bool = True, reversed_time: bool = False) -> None:
        super().__init__(reversed_time)
        name = type(scheduler).__name__
        if name != "FlowMatchEulerDiscreteScheduler" or scheduler.config.invert_sigmas:
            raise ValueError(
                f"scheduler must be a FlowMatchEulerDiscreteScheduler with invert_sigmas off, got a {name}"
            )
        self.scheduler = scheduler
        self.tokens, self.uniform = tokens, uniform

    def time_grid(self, steps: int) -> list[float]:
        """The scheduler's sigmas.

        Raises:
            ValueError: if the scheduler has ``shift_terminal`` and one step is asked for.
        """
        config = self.scheduler.config
        scheduler = copy.deepcopy(self.scheduler)  # set_timesteps changes it
        if config.shift_terminal and steps == 1:
            raise ValueError("scheduler: with shift_terminal there is no one-step schedule; take 2 steps, or set shift")
        shift: dict[str, Any] = {}
        if config.use_dynamic_shifting:  # linear in the number of tokens
            slope = (config.max_shift - config.base_shift) / (config.max_image_seq_len - config.base_image_seq_len)
            shift = {"mu": config.base_shift + slope * (self.tokens - config.base_image_seq_len)}
        if self.uniform:
            scheduler.set_timesteps(sigmas=[1 - step / steps for step in range(steps)], **shift)
        else:
            scheduler.set_timesteps(steps, **shift)
        times: list[float] = scheduler.sigmas.tolist()
        return times

    def noise_retention(self, t: float, next_t: float) -> float:
        """1, or 0 for a scheduler with ``stochastic_sampling``."""
        return 0.0 if self.scheduler.config.stochastic_sampling else 1.0


class DPMSolverFlow(Flow):
    """DPM-Solver++ over the times of its scheduler, which begin just below 1.

    Args:
        scheduler: diffusers ``DPMSolverMultistepScheduler`` with ``use_flow_sigmas``; it is not changed.

    Raises:
        ValueError: if the scheduler is of another class, or asks for another solver.
    """

    def __init__(self, scheduler: Any) -> None:
        super().__init__()
        name = type(scheduler).__name__
        if name != "DPMSolverMultistepScheduler" or not scheduler.config.use_flow_sigmas:
            raise ValueError(f"scheduler must be a DPMSolverMultistepScheduler with use_flow_sigmas, got a {name}")
        self.scheduler = scheduler
        self.order = solver_order(self.scheduler.config)
        self._timesteps: dict[float, float] = {}  # t -> the scheduler's timestep, for the grids asked for

    def time_grid(self, steps: int) -> list[float]:
        """The scheduler's sigmas."""
        scheduler = copy.deepcopy(self.scheduler)
        scheduler.set_timesteps(steps)
        times: list[float] = scheduler.sigmas.tolist()
        # the scheduler rounds its timesteps from sigmas in double precision
        self._timesteps |= zip(times, map(float, scheduler.timesteps.tolist()))
        return times

    def model_timestep(self, t: float) -> float:
        """The scheduler's whole timestep; t * num_train_timesteps, rounded down."""
        timesteps = self.scheduler.config.num_train_timesteps
        return self._timesteps.get(t, float(min(int(t * timesteps), timesteps - 1)))
