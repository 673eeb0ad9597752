"""Feynman-Kac steering: particles that promise much are doubled on the way, others die."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from torch import Tensor

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.search.base import Search, check_stepped
from hypernoise_pl.search.problem import NoiseProblem


@dataclass(frozen=True)
class Steering(Search):
    """Particles walk the generator's own steps; between steps they are drawn anew by what they promise.

    Args:
        particles: K, at least 2.
        temperature: the weights are the exponential of the potential over it, in units of the score.
        potential: ``difference`` (what was gained since the step before), ``max`` (the best promise so far) or ``sum``.

    Raises:
        ValueError: if there are fewer than two particles or the temperature is not positive.

    Source: Singhal et al. 2025 (arXiv 2501.06848), section 3; its lambda is 1 / temperature.
    """

    particles: int = 4
    temperature: float = 0.1
    potential: Literal["difference", "max", "sum"] = "max"

    def __post_init__(self) -> None:
        if self.particles < 2 or self.temperature <= 0:
            raise ValueError(f"steering needs two particles and a temperature above 0, got {self}")

    def run(self, problem: NoiseProblem) -> None:
        """Walk, score what is seen ahead, draw anew; the best clean prediction is kept.

        Raises:
            ValueError: if the generator cannot be stopped on its way, or takes it in one step.
        """
        self.check(problem.generator, problem.steps)
        generator = check_stepped(problem.generator)
        noise = problem.draw(self.particles)
        state, memory = noise, None
        for level, lower in itertools.pairwise(generator.levels(problem.steps)):
            clean = problem.look_ahead(state, level)
            scores = problem.score_latents(clean, noise)
            if lower == 0:
                return
            memory, potential = self._potential(memory, scores)
            chosen = _resampled(potential / self.temperature, problem.uniforms(1))
            memory = memory.gather(1, chosen)
            picked = chosen.view(*chosen.shape, *[1] * (clean.dim() - 2)).expand_as(clean)
            clean, noise = clean.gather(1, picked), noise.gather(1, picked)
            state = generator.mix(clean, problem.directions(self.particles), lower)

    def budget(self, steps: int = 1, drawing: int = 0, verifying: int = 0) -> int:
        """Every particle's way."""
        return self.particles * (drawing + steps * (1 + verifying))

    def within(self, budget: int, steps: int = 1, drawing: int = 0, verifying: int = 0) -> Self:
        """As many particles as fit."""
        cost = drawing + steps * (1 + verifying)
        return replace(self, particles=1 + self._count(budget, cost, cost))

    def check(self, generator: Generator, steps: int) -> None:
        """It must have levels to stop at, and steps between which to act."""
        check_stepped(generator)
        if steps < 2:
            raise ValueError("steering acts between steps and needs 2 at least; set steps (one step: random search)")

    def _potential(self, memory: Tensor | None, scores: Tensor) -> tuple[Tensor, Tensor]:
        """What is remembered of each particle, and its potential now."""
        if memory is None:
            return scores, scores
        if self.potential == "difference":
            return scores, scores - memory
        memory = torch.maximum(memory, scores) if self.potential == "max" else memory + scores
        return memory, memory


def _resampled(log_weights: Tensor, offset: Tensor) -> Tensor:
    """[B, K] particles drawn with those weights, systematically: one uniform number [B, 1] a row."""
    count = log_weights.shape[1]
    places = (torch.arange(count, device=offset.device) + offset) / count
    edges = log_weights.softmax(1).nan_to_num(nan=1 / count).cumsum(1)
    return torch.searchsorted(edges.contiguous(), places.to(edges).contiguous()).clamp(max=count - 1)
