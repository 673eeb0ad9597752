"""What a generator is: a frozen text-to-image model whose input noise we may move."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hypernoise_pl.types import Conditioning, check_shape


class Generator(nn.Module, ABC):
    """A frozen text-to-image model, differentiable from images back to noise.

    Public methods are final and check shapes once; a family fills in ``_encode``, ``_predict`` and ``_generate``.
    Everything model-specific (timestep, guidance, scaling, packing, scheduler) stays behind them.

    Attributes:
        network: the module that is evaluated once per step; the hypernetwork is a LoRA view of it.
        last_layer: dotted name, inside ``network``, of the layer that writes its output.
        noise_shape: Z, the shape of one image's noise.
        name: folder or hub id and revision; an adapter remembers it.
    """

    network: nn.Module
    last_layer: str
    noise_shape: tuple[int, ...]
    name: str

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Encode prompts; no gradient flows into text encoders.

        Raises:
            ValueError: if there is no prompt.
        """
        if not prompts:
            raise ValueError("encode needs at least one prompt, got none")
        return self._encode(list(prompts))

    def predict(self, network: nn.Module, noise: Tensor, conditioning: Conditioning) -> Tensor:
        """Evaluate a view of the network once, at the first timestep.

        Args:
            network: ``self.network`` or a LoRA view of it.
            noise: [B, *Z] standard normal.
            conditioning: from ``encode``, for the same B prompts.

        Returns:
            [B, *Z] the network's raw output, with no scheduler transform.
        """
        self._check(noise, conditioning)
        return self._predict(network, noise, conditioning)

    def generate(
        self,
        noise: Tensor,
        conditioning: Conditioning,
        steps: int = 1,
        *,
        network: nn.Module | None = None,
        seeds: Sequence[int] | None = None,
    ) -> Tensor:
        """Turn noise into images.

        Args:
            noise: [B, *Z] standard normal (or refined).
            conditioning: from ``encode``, for the same B prompts.
            steps: network evaluations.
            network: a view of ``self.network`` to use in its place (direct fine-tuning).
            seeds: one seed an image for the fresh noise that some samplers add between steps; drawn from
                PyTorch's global generator if left out.

        Returns:
            [B, 3, H, W] in [0, 1], differentiable in the noise.

        Raises:
            ValueError: if shapes or counts do not fit.
        """
        self._check(noise, conditioning)
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        if seeds is not None and len(seeds) != len(noise):
            raise ValueError(f"seeds: one an image is needed, got {len(seeds)} for {len(noise)} images")
        return self._generate(self.network if network is None else network, noise, conditioning, steps, seeds)

    def checkpoint_activations(self, network: nn.Module | None = None) -> None:
        """Recompute the activations of the network (or a view of it) in backward, trading time for memory."""
        target = self.network if network is None else network
        target.enable_gradient_checkpointing()  # type: ignore[operator]

    @abstractmethod
    def _encode(self, prompts: list[str]) -> Conditioning: ...

    @abstractmethod
    def _predict(self, network: nn.Module, noise: Tensor, conditioning: Conditioning) -> Tensor: ...

    @abstractmethod
    def _generate(
        self,
        network: nn.Module,
        noise: Tensor,
        conditioning: Conditioning,
        steps: int,
        seeds: Sequence[int] | None,
    ) -> Tensor: ...

    def _check(self, noise: Tensor, conditioning: Conditioning) -> None:
        check_shape("noise", noise, (len(conditioning), *self.noise_shape))
