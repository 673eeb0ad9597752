"""Sampling trajectories that a search stops between steps, copies and renoises."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hypernoise_pl.generators.schedules.base import PreviousStep
from hypernoise_pl.search.candidates import Candidates, picked
from hypernoise_pl.search.problem import NoiseProblem


class Trajectories:
    """N trajectories of every prompt, from noise to clean latents by the steps of the generator's own scheduler.

    A trajectory without intervention ends in the sample that ``NoiseProblem.score`` makes of the same candidate.

    Args:
        problem: problem with the generator; it is charged for every evaluation.
        candidates: start noises.

    Attributes:
        start: candidates that the trajectories began with.
        state: [B, N, *Z] current states; clean latents at the end.
        place: steps done.
    """

    def __init__(self, problem: NoiseProblem, candidates: Candidates) -> None:
        generator = problem.generator
        self.problem, self.generator = problem, generator
        self.start, self.state, self.place = candidates, candidates.noise, 0
        self._times, self._next_times = generator.time_grid(problem.steps), generator.schedule.next_times(problem.steps)
        self._previous: PreviousStep | None = None
        self._fresh = [torch.Generator().manual_seed(seed) for seed in candidates.seeds.flatten().tolist()]
        self._copied = torch.zeros(candidates.seeds.shape, dtype=torch.bool)  # since the last step

    def denoise(self) -> Tensor:
        """[B, N, *Z] predicted clean latents; one network evaluation each.

        Raises:
            BudgetExceeded: before anything is spent, if the budget does not hold them.
        """
        return self.problem.denoise(self.state, self._times[self.place])

    @torch.no_grad()
    def step(self, clean: Tensor) -> None:
        """Take one step by clean predictions [B, N, *Z].

        Where the scheduler adds no fresh noise, a copy takes an ancestral step; it then differs from its original.
        """
        schedule, t, next_t = self.generator.schedule, self._times[self.place], self._next_times[self.place]
        before = None if self._previous is None else replace(self._previous, x0=self._previous.x0.flatten(0, 1))
        state, seen = self.state.flatten(0, 1), clean.flatten(0, 1)
        after, previous = schedule.step(state, seen, t, next_t, before, self._fresh)
        if next_t > 0 and schedule.noise_retention(t, next_t) == 1 and self._copied.any():
            copies = self._copied.flatten().nonzero()[:, 0].tolist()
            own = None if before is None else replace(before, x0=before.x0[copies])
            fresh, retention = [self._fresh[place] for place in copies], schedule.ancestral_retention(t, next_t)
            after[copies], _ = schedule.step(state[copies], seen[copies], t, next_t, own, fresh, retention)
        self.state, self._previous = after.view_as(clean), replace(previous, x0=clean)
        self._copied.zero_()
        self.place += 1

    def advance(self, steps: int) -> None:
        """Take a number of steps; one network evaluation each."""
        for _ in range(steps):
            self.step(self.denoise())

    def pick(self, index: Tensor) -> None:
        """Continue with the trajectories at an index [B, K]; a repeated one is a copy.

        A copy draws its fresh noise with a seed of its own from the prompt's stream.
        """
        chosen, seeds = index.tolist(), self.problem.streams.seeds(index.shape[1]).tolist()
        count, fresh = len(self.start), []
        self._copied = torch.zeros(index.shape, dtype=torch.bool)
        for row, places in enumerate(chosen):
            for k, place in enumerate(places):
                self._copied[row, k] = place in places[:k]
                own = self._fresh[row * count + place]
                fresh.append(torch.Generator().manual_seed(seeds[row][k]) if self._copied[row, k] else own)
        self._fresh, self.state = fresh, picked(self.state, index)
        self.start = Candidates(picked(self.start.noise, index), picked(self.start.seeds, index.cpu()))
        if self._previous is not None:
            self._previous = replace(self._previous, x0=picked(self._previous.x0, index))

    def copy(self, count: int) -> None:
        """Continue with a number of copies of each."""
        places = torch.arange(len(self.start), device=self.state.device).repeat_interleave(count)
        self.pick(places.expand(len(self.state), -1))

    @torch.no_grad()
    def renoise(self, steps: int) -> None:
        """Take the states a number of steps back by the forward process, each with its own noise."""
        t, self.place = self._times[self.place], self.place - steps
        noise = self.problem.streams.normal(len(self.start))
        self.state = self.generator.renoise(self.state, t, self._times[self.place], noise)
        self._previous = None
        self._copied.zero_()
