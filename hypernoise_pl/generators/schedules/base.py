"""Schedules: at which levels a model is evaluated, what a state is made of there, and how a walk goes on from it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Memory:
    """What a multistep solver remembers of a step.

    Args:
        clean: [B, *Z] clean latents, as they were seen.
        ahead: what the step added to the logarithm of alpha / beta.
    """

    clean: Tensor
    ahead: float


class Schedule(ABC):
    """What a pipeline's scheduler does, as functions of a level.

    A state at a level is ``alpha clean + beta noise``. A step looks at it, and mixes what it saw anew:

        noise = (state - alpha clean) / beta
        next state = alpha' clean + beta' (kept noise + (1 - kept²)^½ fresh noise)

    which with all of the noise kept is Euler's step for flow matching and DDIM's for diffusion, and with none of it the
    step of a consistency model. At order 2 the clean latents are first extrapolated, half a step ahead, from the last
    two that were seen.

    Attributes:
        first: the level at which a hypernetwork looks at noise.
        order: 1, or 2 for DPM-Solver++ (2M).

    Source: Song et al. 2021 (DDIM), eq. 12; Song et al. 2023 (consistency models), Algorithm 1; Lu et al. 2022
        (DPM-Solver++), Algorithm 2.
    """

    first: float = 1.0
    order: int = 1

    @abstractmethod
    def levels(self, steps: int) -> list[float]:
        """The levels at which the network is evaluated, falling from the noisiest; and the last, 0."""

    @abstractmethod
    def coefficients(self, level: float) -> tuple[float, float]:
        """Alpha and beta of a level, the time of flow matching: 1 is noise alone, 0 is clean."""

    @abstractmethod
    def clean(self, state: Tensor, output: Tensor, level: float) -> Tensor:
        """Clean latents, by the network's output for a state."""

    def time(self, level: float) -> float:
        """What the network is told of a level."""
        return level

    def scaled(self, state: Tensor, level: float) -> Tensor:
        """What the network is given of a state."""
        return state

    def read(self, level: float) -> tuple[float, float]:
        """Alpha and beta as the network reads a state: for some the noisiest has a little of the clean one in it."""
        return self.coefficients(level)

    def kept(self, level: float, lower: float) -> float:
        """The share of the noise seen in a state that is in the next one; the rest of it is fresh."""
        return 1.0

    def ends(self, steps: int) -> list[float]:
        """The levels of the states that steps end in: those of the next evaluations, where no sampler differs."""
        return self.levels(steps)[1:]

    def ancestral(self, level: float, lower: float) -> float:
        """The share of the noise that ancestral sampling keeps (DDIM at eta 1): sigma of the lower level over sigma."""
        (alpha, beta), (alpha_lower, beta_lower) = self.read(level), self.coefficients(lower)
        return min(beta_lower * alpha / (alpha_lower * beta), 1.0)

    def step(
        self,
        state: Tensor,
        clean: Tensor,
        level: float,
        end: float,
        memory: Memory | None = None,
        fresh: Sequence[torch.Generator] | None = None,
        kept: float | None = None,
    ) -> tuple[Tensor, Memory]:
        """One step of the sampler.

        Args:
            state: [B, *Z] at a level.
            clean: [B, *Z] clean latents, as they are seen from the state.
            level: of the state.
            end: level of the next state, one of ``ends``; 0 for clean latents.
            memory: what the step before handed on; None at the first.
            fresh: what every row's fresh noise is drawn from.
            kept: share of the noise seen that is kept; the sampler's own if left out.

        Returns:
            The next state [B, *Z], and what the next step needs to know of this one.
        """
        if end == 0:
            return clean, Memory(clean, 0.0)
        (alpha, beta), (alpha_end, beta_end) = self.read(level), self.coefficients(end)
        ahead, seen = self._signal(end) - self._signal(level), clean
        if self.order == 2 and memory is not None:
            seen = clean + ahead / (2 * memory.ahead) * (clean - memory.clean)
        kept = self.kept(level, end) if kept is None else kept
        noise = kept / beta * (state - alpha * seen)
        if kept < 1:
            noise = noise + math.sqrt(1 - kept**2) * fresh_noise(seen, fresh)
        return alpha_end * seen + beta_end * noise, Memory(clean, ahead)

    def walk(
        self,
        see: Callable[[Tensor, float], Tensor],
        noise: Tensor,
        steps: int,
        fresh: Sequence[torch.Generator] | None = None,
    ) -> Tensor:
        """Clean latents [B, *Z] of noise.

        Args:
            see: clean latents, as they are seen from a state at a level.
            noise: [B, *Z].
            steps: calls of ``see``.
            fresh: what every row's fresh noise is drawn from.
        """
        state, memory = noise, None
        for level, end in zip(self.levels(steps), self.ends(steps)):
            state, memory = self.step(state, see(state, level), level, end, memory, fresh)
        return state

    def _signal(self, level: float) -> float:
        """The logarithm of alpha / beta, in whose steps a solver of order 2 counts; there is none of noise alone."""
        alpha, beta = self.read(level)
        return math.log(alpha / beta) if alpha > 0 else -math.inf


def fresh_noise(like: Tensor, generators: Sequence[torch.Generator] | None) -> Tensor:
    """Standard normal noise of the shape and type of a tensor, every row from its own generator if there are any."""
    if generators is None:
        return torch.randn_like(like)
    return torch.stack([torch.randn(like.shape[1:], generator=g) for g in generators]).to(like)


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
