"""What a generator is: a frozen text-to-image model whose input noise we may move."""

from __future__ import annotations

import contextlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hypernoise_pl.types import Conditioning, check_shape


class Generator(nn.Module, ABC):
    """A frozen text-to-image model, differentiable from images back to noise.

    Public methods are final and check shapes once; a family fills in ``_encode``, ``_predict``, ``_latents`` and
    ``_decode``. Everything model-specific (timestep, guidance, scaling, packing, scheduler) stays behind them.

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
    _recompute = False  # of the decoder, in backward
    _away: dict[str, nn.Module] | None = None  # text encoders that are kept off the device

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Encode prompts; no gradient flows into text encoders.

        Raises:
            ValueError: if there is no prompt.
        """
        if not prompts:
            raise ValueError("encode needs at least one prompt, got none")
        with self.text_encoders_at_hand():
            return self._encode(list(prompts))

    def text_encoders(self) -> dict[str, nn.Module]:
        """Name -> text encoder; families call them ``text_encoder``, ``text_encoder_2`` and so on."""
        here = {name: module for name, module in self.named_children() if name.startswith("text_encoder")}
        return here | (self._away or {})

    def offload_text_encoders(self) -> None:
        """Move the text encoders to the CPU, where they stay when the generator is moved.

        ``encode`` brings them to the network's device for as long as it takes: for prompts that were encoded before.
        """
        self._away = self.text_encoders()
        for name, encoder in self._away.items():
            self._modules.pop(name, None)
            self.__dict__[name] = encoder.to("cpu")  # an attribute still, but no part of the module tree

    @contextlib.contextmanager
    def text_encoders_at_hand(self) -> Iterator[None]:
        """Have offloaded text encoders on the network's device, for one call of ``encode`` or for many."""
        away = [*(self._away or {}).values()]
        home = self._device if away else None
        moved = [encoder for encoder in away if _device(encoder) != home]
        for encoder in moved:
            encoder.to(home)
        try:
            yield
        finally:
            for encoder in moved:
                encoder.to("cpu")

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
        """Turn noise into clean latents, which ``decode`` makes images of; takes and raises what ``generate`` does.

        Returns:
            [B, *Z].
        """
        self._check(noise, conditioning)
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        if seeds is not None and len(seeds) != len(noise):
            raise ValueError(f"seeds: one an image is needed, got {len(seeds)} for {len(noise)} images")
        return self._latents(self.network if network is None else network, noise, conditioning, steps, seeds)

    def decode(self, latents: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [0, 1] of clean latents [B, *Z]; differentiable."""
        check_shape("latents", latents, (None, *self.noise_shape))
        if not (self._recompute and latents.requires_grad and torch.is_grad_enabled()):
            return self._decode(latents)
        # image by image, so that backward holds the activations of one: at 1024 pixels they are tens of GiB each
        images = [checkpoint(self._decode, latent, use_reentrant=False) for latent in latents.split(1)]
        return torch.cat(images)  # type: ignore[arg-type]

    def checkpoint_activations(self, network: nn.Module | None = None) -> None:
        """Recompute activations in backward, trading time for memory.

        Args:
            network: a view of the network; None for the generator itself, its decoder included, which then goes image
                by image.
        """
        if network is None:
            self._recompute = True
        target = self.network if network is None else network
        target.enable_gradient_checkpointing()  # type: ignore[operator]

    @classmethod
    def settings_of(cls, pipeline: Any) -> dict[str, Any]:
        """Arguments of the constructor that a loaded pipeline answers by itself."""
        return {}

    def conditioning_of(self, encoded: Sequence[Any]) -> Conditioning:
        """What the pipeline's own ``encode_prompt`` returned, as conditioning; its first is the text features."""
        return Conditioning(encoded[0])

    def from_pipeline(self, latents: Tensor) -> Tensor:
        """[B, *Z] of start latents in the pipeline's own order; the same where a family packs none."""
        return latents

    def to_pipeline(self, noise: Tensor) -> Tensor:
        """Noise [B, *Z] in the pipeline's own order; the inverse of ``from_pipeline``."""
        return noise

    @abstractmethod
    def _encode(self, prompts: list[str]) -> Conditioning: ...

    @abstractmethod
    def _predict(self, network: nn.Module, noise: Tensor, conditioning: Conditioning) -> Tensor: ...

    @abstractmethod
    def _latents(
        self,
        network: nn.Module,
        noise: Tensor,
        conditioning: Conditioning,
        steps: int,
        seeds: Sequence[int] | None,
    ) -> Tensor: ...

    @abstractmethod
    def _decode(self, latents: Tensor) -> Tensor: ...

    def _check(self, noise: Tensor, conditioning: Conditioning) -> None:
        check_shape("noise", noise, (len(conditioning), *self.noise_shape))

    @property
    def _device(self) -> torch.device:
        """Where the network is."""
        return _device(self.network)


class SteppedGenerator(Generator):
    """A generator whose way from noise to clean latents can be walked one evaluation at a time.

    Its *level* is the time of flow matching, in every family: 1 is pure noise, 0 is clean. A state at a level is
    ``alpha * clean + beta * noise`` with the family's own alpha and beta; a family fills in ``levels``, ``_denoise``
    and ``_coefficients``, and ``_onward`` where it does not add fresh noise between its steps.
    """

    @abstractmethod
    def levels(self, steps: int) -> list[float]:
        """The levels at which the network is evaluated, falling from 1; and the last, 0."""

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
        alpha, beta = self._coefficients(level)
        return alpha * clean + beta * noise

    def renoise(self, state: Tensor, low: float, high: float, noise: Tensor) -> Tensor:
        """A state at a level, taken up to a higher one by the forward process with standard normal noise.

        Raises:
            ValueError: if the second level is below the first.
        """
        if high < low:
            raise ValueError(f"the forward process goes up, from {low} to {high} it cannot")
        (alpha, beta), (alpha_high, beta_high) = self._coefficients(low), self._coefficients(high)
        kept = alpha_high / alpha
        return kept * state + max(beta_high**2 - (kept * beta) ** 2, 0.0) ** 0.5 * noise

    @abstractmethod
    def _denoise(self, network: nn.Module, state: Tensor, conditioning: Conditioning, level: float) -> Tensor: ...

    @abstractmethod
    def _coefficients(self, level: float) -> tuple[float, float]: ...

    def _latents(
        self,
        network: nn.Module,
        noise: Tensor,
        conditioning: Conditioning,
        steps: int,
        seeds: Sequence[int] | None,
    ) -> Tensor:
        fresh = None if seeds is None else [torch.Generator().manual_seed(seed) for seed in seeds]
        state, levels = noise, self.levels(steps)
        for level, lower in itertools.pairwise(levels):
            clean = self._denoise(network, state, conditioning, level)
            if lower > 0:
                state = self._onward(state, clean, level, lower, fresh)
        return self._finish(state, clean, level)

    def _onward(
        self, state: Tensor, clean: Tensor, level: float, lower: float, fresh: list[torch.Generator] | None
    ) -> Tensor:
        """The next state, by what was seen from this one; with fresh noise unless a family does otherwise."""
        return self.mix(clean, fresh_noise(clean, fresh), lower)

    def _finish(self, state: Tensor, clean: Tensor, level: float) -> Tensor:
        """What a walk ends with: what was seen from the last state, unless a sampler does otherwise."""
        return clean


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def fresh_noise(like: Tensor, generators: list[torch.Generator] | None) -> Tensor:
    """Standard normal noise of the shape and type of a tensor, every row from its own generator if there are any."""
    if generators is None:
        return torch.randn_like(like)
    return torch.stack([torch.randn(like.shape[1:], generator=g) for g in generators]).to(like)
