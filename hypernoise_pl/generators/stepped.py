"""A generator whose way from noise to image can be walked one evaluation at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.generators.schedule import Schedule
from hypernoise_pl.types import Conditioning


class SteppedGenerator(Generator):
    """A generator of any number of steps: what searches that act on the way need.

    Its *level* is the time of flow matching, in every family: 1 is pure noise, 0 is clean. A state at a level is
    ``alpha clean + beta noise``, with alpha and beta as its schedule says. A family sets its ``schedule`` and fills in
    ``_denoise``.
    """

    schedule: Schedule

    def levels(self, steps: int) -> list[float]:
        """The levels at which the network is evaluated, falling from the noisiest; and the last, 0."""
        return self.schedule.levels(steps)

    def denoise(
        self, state: Tensor, level: float, conditioning: Conditioning, network: nn.Module | None = None
    ) -> Tensor:
        """Clean latents seen from states [B, *Z] at a level: one network evaluation.

        Raises:
            ValueError: if shapes do not fit or the level is not in (0, 1].
        """
        self._check(state, conditioning)
        if not 0 < level <= 1 + 1e-5:
            raise ValueError(f"a level must be in (0, 1], got {level}")
        return self._denoise(self.network if network is None else network, state, conditioning, level)

    def mix(self, clean: Tensor, noise: Tensor, level: float) -> Tensor:
        """The state at a level that has these clean latents and this noise in it."""
        alpha, beta = self.schedule.coefficients(level)
        return alpha * clean + beta * noise

    def renoise(self, state: Tensor, low: float, high: float, noise: Tensor) -> Tensor:
        """A state at a level, taken up to a higher one by the forward process with standard normal noise.

        Raises:
            ValueError: if the second level is below the first.
        """
        if high < low:
            raise ValueError(f"the forward process goes up, from {low} to {high} it cannot")
        alpha, beta = self.schedule.coefficients(low)
        alpha_high, beta_high = self.schedule.coefficients(high)
        kept = alpha_high / alpha
        return kept * state + max(beta_high**2 - (kept * beta) ** 2, 0.0) ** 0.5 * noise

    @abstractmethod
    def _denoise(self, network: nn.Module, state: Tensor, conditioning: Conditioning, level: float) -> Tensor: ...

    def _latents(
        self,
        network: nn.Module,
        noise: Tensor,
        conditioning: Conditioning,
        steps: int,
        seeds: Sequence[int] | None,
    ) -> Tensor:
        def see(state: Tensor, level: float) -> Tensor:
            return self._denoise(network, state, conditioning, level)

        fresh = None if seeds is None else [torch.Generator().manual_seed(seed) for seed in seeds]
        return self.schedule.walk(see, noise, steps, fresh)
