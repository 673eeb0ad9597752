"""Sampling trajectories that a search stops between steps, copies, and takes back to more noise."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hypernoise_pl.generators.schedules.base import Memory
from hypernoise_pl.search.candidates import Candidates, picked
from hypernoise_pl.search.problem import NoiseProblem


class Trajectories:
    """N trajectories of every prompt, from noise to clean latents by the steps of the generator's own scheduler.

    A trajectory that nothing happens to ends in the sample that ``NoiseProblem.score`` makes of the same candidate.

    Args:
        problem: whose generator steps, and which is charged for every evaluation.
        candidates: the noises to begin with.

    Attributes:
        start: the candidates that the trajectories began with.
        state: [B, N, *Z] where they stand; clean latents at the end.
        place: steps done.

    Raises:
        ValueError: if the generator cannot be stopped between steps.
    """

    def __init__(self, problem: NoiseProblem, candidates: Candidates) -> None:
        generator = problem.generator
        self.problem, self.generator = problem, generator
        self.start, self.state, self.place = candidates, candidates.noise, 0
        self._levels, self._ends = generator.levels(problem.steps), generator.schedule.ends(problem.steps)
        self._memory: Memory | None = None
        self._fresh = [torch.Generator().manual_seed(seed) for seed in candidates.seeds.flatten().tolist()]
        self._copied = torch.zeros(candidates.seeds.shape, dtype=torch.bool)  # since the last step

    def denoise(self) -> Tensor:
        """[B, N, *Z] clean latents as they are predicted from the states: one network evaluation each.

        Raises:
            BudgetExceeded: before anything is spent, if the budget does not hold them.
        """
        return self.problem.look_ahead(self.state, self._levels[self.place])

    @torch.no_grad()
    def step(self, clean: Tensor) -> None:
        """Take one step by clean predictions [B, N, *Z].

        Where the scheduler adds no fresh noise, a copy takes an ancestral step, so that it parts from its twin.
        """
        schedule, level, end = self.generator.schedule, self._levels[self.place], self._ends[self.place]
        before = None if self._memory is None else replace(self._memory, clean=self._memory.clean.flatten(0, 1))
        state, seen = self.state.flatten(0, 1), clean.flatten(0, 1)
        after, memory = schedule.step(state, seen, level, end, before, self._fresh)
        if end > 0 and schedule.kept(level, end) == 1 and self._copied.any():
            copies = self._copied.flatten().nonzero()[:, 0].tolist()
            own = None if before is None else replace(before, clean=before.clean[copies])
            fresh, kept = [self._fresh[place] for place in copies], schedule.ancestral(level, end)
            after[copies], _ = schedule.step(state[copies], seen[copies], level, end, own, fresh, kept)
        self.state, self._memory = after.view_as(clean), replace(memory, clean=clean)
        self._copied.zero_()
        self.place += 1

    def advance(self, steps: int) -> None:
        """Take so many steps: one network evaluation each."""
        for _ in range(steps):
            self.step(self.denoise())

    def pick(self, index: Tensor) -> None:
        """Go on with the trajectories [B, K] that an index names; the second of one and later ones are copies.

        A copy draws its fresh noise from a seed of its own, of the prompt's stream.
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
        if self._memory is not None:
            self._memory = replace(self._memory, clean=picked(self._memory.clean, index))

    def copy(self, count: int) -> None:
        """Go on with so many of each."""
        places = torch.arange(len(self.start), device=self.state.device).repeat_interleave(count)
        self.pick(places.expand(len(self.state), -1))

    @torch.no_grad()
    def renoise(self, steps: int) -> None:
        """Take the states as many steps back by the forward process, each with noise of its own."""
        low, self.place = self._levels[self.place], self.place - steps
        noise = self.problem.streams.directions(len(self.start))
        self.state = self.generator.renoise(self.state, low, self._levels[self.place], noise)
        self._memory = None
        self._copied.zero_()
