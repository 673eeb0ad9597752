"""Flow matching: what FLUX and Stable Diffusion 3 share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.base import SteppedGenerator
from hypernoise_pl.generators.pipeline import at_least_single
from hypernoise_pl.types import Conditioning


class RectifiedFlowGenerator(SteppedGenerator):
    """A network trained on ``(1 - level) * clean + level * noise`` to predict ``noise - clean``.

    A family fills in ``_evaluate`` and, where its pipeline does not leave the levels to the scheduler, ``_schedule``.

    Source: Lipman et al. 2023 (arXiv 2210.02747); Esser et al. 2024 (arXiv 2403.03206) for shifted levels.
    """

    def _set_scheduler(self, pipeline: Any) -> None:
        """Remember the pipeline's scheduler.

        Raises:
            ValueError: if it is not the Euler scheduler of flow matching.
        """
        found = type(pipeline.scheduler).__name__
        if found != "FlowMatchEulerDiscreteScheduler":
            raise ValueError(f"generator {pipeline.name_or_path}: a {found} is not supported, only Euler's")
        self.scheduler = pipeline.scheduler

    def levels(self, steps: int) -> list[float]:
        """The pipeline's own levels, shifted as its scheduler says."""
        self.scheduler.set_timesteps(steps, **self._schedule(steps))
        levels: list[float] = self.scheduler.sigmas.tolist()
        return levels

    def _schedule(self, steps: int) -> dict[str, Any]:
        """What the pipeline tells its scheduler besides the number of steps."""
        return {"mu": self._mu()} if self.scheduler.config.use_dynamic_shifting else {}

    def _mu(self) -> float:
        """How far levels are shifted for an image of this size: a line through two sequence lengths' shifts."""
        config, length = self.scheduler.config, self._sequence_length
        slope = (config.max_shift - config.base_shift) / (config.max_image_seq_len - config.base_image_seq_len)
        return float(config.base_shift + slope * (length - config.base_image_seq_len))

    @property
    def _sequence_length(self) -> int:
        """Tokens of one image: every family has patches of two by two latents."""
        return self.noise_shape[1] // 2 * (self.noise_shape[2] // 2)

    @abstractmethod
    def _evaluate(self, network: nn.Module, state: Tensor, conditioning: Conditioning, level: float) -> Tensor:
        """The network's raw output [B, *Z] for states [B, *Z]."""

    def _predict(self, network: nn.Module, noise: Tensor, conditioning: Conditioning) -> Tensor:
        return self._evaluate(network, noise, conditioning, self.levels(1)[0])

    def _denoise(self, network: nn.Module, state: Tensor, conditioning: Conditioning, level: float) -> Tensor:
        velocity = at_least_single(self._evaluate(network, state, conditioning, level))
        return at_least_single(state) - level * velocity

    def _coefficients(self, level: float) -> tuple[float, float]:
        return 1 - level, level

    def _onward(
        self, state: Tensor, clean: Tensor, level: float, lower: float, fresh: list[torch.Generator] | None
    ) -> Tensor:
        if self.scheduler.config.stochastic_sampling:
            return super()._onward(state, clean, level, lower, fresh)
        return clean + lower / level * (state - clean)
