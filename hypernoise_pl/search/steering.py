"""Feynman-Kac steering: particles are resampled between steps by the scores of their predictions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from torch import Tensor

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.search.base import Search
from hypernoise_pl.search.candidates import picked
from hypernoise_pl.search.problem import NoiseProblem
from hypernoise_pl.search.trajectories import Trajectories


@dataclass(frozen=True)
class Steering(Search):
    """Particles take the generator's own steps; between steps they are resampled by the scores of their predictions.

    With a stochastic scheduler, copies of a particle differ by its fresh noise. With a deterministic one, a copy takes
    one ancestral step (DDIM at eta 1, which the authors' code takes throughout); all others take the scheduler's step.
    A constant score therefore leaves the distribution of the samples unchanged. The answer is the best of the final
    samples, not a prediction.

    Args:
        particles: K, particles; at least 2.
        temperature: divisor of the potential in the exponential weights, in units of the score.
        potential: ``difference`` of the scores of two steps, ``max`` of the scores so far, or their ``sum``.

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
        """Predict, score, resample and step; then score the final samples.

        Raises:
            ValueError: if the generator takes a single step.
        """
        self.check(problem.generator, problem.steps)
        particles, memory = Trajectories(problem, problem.draw(self.particles)), None
        for _ in range(problem.steps - 1):
            clean = particles.denoise()
            memory, potential = self._potential(memory, problem.preview(clean))
            chosen = _resampled(potential / self.temperature, problem.streams.uniform(1))
            particles.pick(chosen)
            memory = memory.gather(1, chosen)
            particles.step(picked(clean, chosen))
        particles.advance(1)
        problem.score_latents(particles.state, particles.start)

    def nfe(self, steps: int = 1, nfe_per_draw: int = 0, nfe_per_score: int = 0) -> int:
        """All steps of every particle."""
        return self.particles * (nfe_per_draw + steps * (1 + nfe_per_score))

    def fit_to(self, budget: int, steps: int = 1, nfe_per_draw: int = 0, nfe_per_score: int = 0) -> Self:
        """The search with as many particles as fit the budget."""
        cost = nfe_per_draw + steps * (1 + nfe_per_score)
        return replace(self, particles=1 + self._count(budget, cost, cost))

    def check(self, generator: Generator, steps: int) -> None:
        """Raise ``ValueError`` for fewer than two steps."""
        if steps < 2:
            raise ValueError("steering acts between steps and needs 2 at least; set steps (one step: random search)")

    def _potential(self, memory: Tensor | None, scores: Tensor) -> tuple[Tensor, Tensor]:
        """The memory of each particle, and its potential at this step."""
        if memory is None:
            return scores, scores
        if self.potential == "difference":
            return scores, scores - memory
        memory = torch.maximum(memory, scores) if self.potential == "max" else memory + scores
        return memory, memory


def _resampled(log_weights: Tensor, offset: Tensor) -> Tensor:
    """[B, K] particles by systematic resampling, with one uniform number [B, 1] a row."""
    count = log_weights.shape[1]
    places = (torch.arange(count, device=offset.device) + offset) / count
    edges = log_weights.softmax(1).nan_to_num(nan=1 / count).cumsum(1)
    return torch.searchsorted(edges.contiguous(), places.to(edges).contiguous()).clamp(max=count - 1)
