"""Generator: the contract of a frozen text-to-image model whose input noise a hypernetwork refines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hypernoise_pl.config.arguments import KeepsArguments
from hypernoise_pl.generators.schedules.base import Schedule
from hypernoise_pl.generators.text_encoders import TextEncoderOffloading
from hypernoise_pl.system.autocast import without_autocast
from hypernoise_pl.types import Conditioning, check_shape


class Generator(KeepsArguments, TextEncoderOffloading, ABC):
    """A frozen text-to-image model, differentiable from images back to noise.

    Public methods check shapes once. A subclass sets ``network``, ``schedule``, ``last_layer``, ``noise_shape`` and
    ``name``, and writes ``_encode``, ``_predict``, ``_denoise`` and ``_decode``. Everything model-specific (timestep,
    guidance, scaling, packing, scheduler) stays behind them.

    Time t is that of flow matching in every family: 1 is noise alone, 0 is clean. The state at t is
    ``alpha_t * x0 + sigma_t * noise``, with alpha_t and sigma_t from the schedule.

    Attributes:
        network: module that is evaluated once per step; the hypernetwork is a LoRA view of it.
        last_layer: dotted name, inside ``network``, of the layer that writes its output.
        schedule: times, alpha_t and sigma_t, and the sampler's step.
        noise_shape: Z, the shape of one image's noise.
        name: folder or hub id, and revision.
        shared_blocks: names of the network's blocks that are read outside their own forward; FSDP must not reshard
            them.
        float16: whether the model computes correctly in float16; if not, ``dtype`` float16 and precision 16-mixed are
            refused.
        unused_layers: dotted names, inside ``network``, of layers that do not change its output; a LoRA on them would
            get no gradient, and there is none.
        trained_options: name of each option that changes the hypernetwork's input -> name of the same argument in the
            pipeline's call, None if the call has none. An adapter remembers the values of these options.
    """

    schedule: Schedule
    last_layer: str
    noise_shape: tuple[int, ...]
    name: str
    float16: ClassVar[bool] = True
    shared_blocks: ClassVar[tuple[str, ...]] = ()
    unused_layers: tuple[str, ...] = ()
    trained_options: ClassVar[dict[str, str | None]] = {}
    _recompute_decoder = False  # in backward

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Encode prompts in the text encoders' own precision; no gradient flows into them.

        Raises:
            ValueError: if there is no prompt, or one text in place of a list of texts.
        """
        if isinstance(prompts, str):
            raise ValueError(f"encode needs a list of prompts, got one text; write [{prompts!r}]")
        if not prompts:
            raise ValueError("encode needs at least one prompt, got none")
        with self.text_encoders_on(), without_autocast(self._device):
            return self._encode(list(prompts))

    def predict(self, network: nn.Module, noise: Tensor, conditioning: Conditioning) -> Tensor:
        """Evaluate a view of the network once, at the first time of the schedule.

        Args:
            network: ``self.network`` or a LoRA view of it.
            noise: [B, *Z] standard normal.
            conditioning: output of ``encode`` for the same B prompts.

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
        """Images from noise.

        Args:
            noise: [B, *Z] standard normal (or refined).
            conditioning: output of ``encode`` for the same B prompts.
            steps: number of network evaluations.
            network: view of ``self.network`` to use in its place (direct fine-tuning).
            seeds: one seed an image for the fresh noise that some samplers add between steps; PyTorch's global
                generator draws it if left out.

        Returns:
            [B, 3, H, W] in [0, 1], differentiable in the noise.

        Raises:
            ValueError: if shapes or counts do not fit.
        """
        return self.decode(self.latents(noise, conditioning, steps, network=network, seeds=seeds))

    def latents(
        self,
        noise: Tensor,
        conditioning: Conditioning,
        steps: int = 1,
        *,
        network: nn.Module | None = None,
        seeds: Sequence[int] | None = None,
    ) -> Tensor:
        """Clean latents [B, *Z] from noise, for ``decode``; arguments and errors are those of ``generate``."""
        self._check(noise, conditioning)
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        if seeds is not None and len(seeds) != len(noise):
            raise ValueError(f"seeds: one an image is needed, got {len(seeds)} for {len(noise)} images")
        return self._latents(self.network if network is None else network, noise, conditioning, steps, seeds)

    def time_grid(self, steps: int) -> list[float]:
        """The times at which the network is evaluated, from the noisiest down, then 0: ``steps + 1`` in all."""
        return self.schedule.time_grid(steps)

    def denoise(self, state: Tensor, t: float, conditioning: Conditioning, network: nn.Module | None = None) -> Tensor:
        """Predict clean latents [B, *Z] from states [B, *Z] at time t, with one network evaluation.

        Raises:
            ValueError: if shapes do not fit or t is not in (0, 1].
        """
        self._check(state, conditioning)
        if not 0 < t <= 1 + 1e-5:
            raise ValueError(f"t must be in (0, 1], got {t}")
        return self._denoise(self.network if network is None else network, state, conditioning, t)

    def add_noise(self, x0: Tensor, noise: Tensor, t: float) -> Tensor:
        """The state alpha_t * x0 + sigma_t * noise at time t."""
        alpha_t, sigma_t = self.schedule.alpha_sigma(t)
        return alpha_t * x0 + sigma_t * noise

    def renoise(self, state: Tensor, t: float, higher_t: float, noise: Tensor) -> Tensor:
        """Take a state from t up to a higher time by the forward process.

        Args:
            state: [B, *Z] state at time t.
            t: time of the state.
            higher_t: time of the result.
            noise: [B, *Z] standard normal.

        Returns:
            a * state + sqrt(sigma_higher ** 2 - (a * sigma_t) ** 2) * noise, with a = alpha_higher / alpha_t.

        Raises:
            ValueError: if the second time is below the first.
        """
        if higher_t < t:
            raise ValueError(f"renoise goes to a higher time, got {t} to {higher_t}")
        alpha_t, sigma_t = self.schedule.alpha_sigma(t)
        alpha_higher, sigma_higher = self.schedule.alpha_sigma(higher_t)
        scale = alpha_higher / alpha_t
        return scale * state + max(sigma_higher**2 - (scale * sigma_t) ** 2, 0.0) ** 0.5 * noise

    def decode(self, latents: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [0, 1] from clean latents [B, *Z], in the decoder's own precision; differentiable."""
        check_shape("latents", latents, (None, *self.noise_shape))
        with without_autocast(latents.device):
            if not (self._recompute_decoder and latents.requires_grad and torch.is_grad_enabled()):
                return self._decode(latents)
            # one image at a time: the decoder's activations at 1024 pixels take tens of GiB an image
            images = [checkpoint(self._decode, latent, use_reentrant=False) for latent in latents.split(1)]
            return torch.cat(images)  # type: ignore[arg-type]

    def checkpoint_activations(self, network: nn.Module | None = None) -> None:
        """Recompute activations in backward, trading time for memory.

        Args:
            network: view of the network; None for the network itself and the decoder, which then decodes one image at
                a time.
        """
        if network is None:
            self._recompute_decoder = True
        target = self.network if network is None else network
        target.enable_gradient_checkpointing()  # type: ignore[operator]

    @abstractmethod
    def _encode(self, prompts: list[str]) -> Conditioning:
        """Encoded prompts, on ``self._device``."""

    @abstractmethod
    def _predict(self, network: nn.Module, noise: Tensor, conditioning: Conditioning) -> Tensor:
        """The network's raw output [B, *Z] for noise [B, *Z], at the first time of the schedule."""

    @abstractmethod
    def _denoise(self, network: nn.Module, state: Tensor, conditioning: Conditioning, t: float) -> Tensor:
        """Clean latents [B, *Z] predicted from states [B, *Z] at time t."""

    @abstractmethod
    def _decode(self, latents: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [0, 1] from clean latents [B, *Z]."""

    def _latents(
        self,
        network: nn.Module,
        noise: Tensor,
        conditioning: Conditioning,
        steps: int,
        seeds: Sequence[int] | None,
    ) -> Tensor:
        """Clean latents [B, *Z] from noise [B, *Z], by the schedule's sampler."""

        def denoise(state: Tensor, t: float) -> Tensor:
            return self._denoise(network, state, conditioning, t)

        rngs = None if seeds is None else [torch.Generator().manual_seed(seed) for seed in seeds]
        return self.schedule.sample(denoise, noise, steps, rngs)

    def _check(self, noise: Tensor, conditioning: Conditioning) -> None:
        check_shape("noise", noise, (len(conditioning), *self.noise_shape))
