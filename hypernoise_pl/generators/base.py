"""What a generator is: a frozen text-to-image model whose input noise we may move."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hypernoise_pl.config.arguments import KeepsArguments
from hypernoise_pl.generators.schedules.base import Schedule
from hypernoise_pl.system.autocast import without_autocast
from hypernoise_pl.types import Conditioning, check_shape


class Generator(KeepsArguments, nn.Module, ABC):
    """A frozen text-to-image model, differentiable from images back to noise.

    Public methods are final and check shapes once; a family sets its ``schedule`` and fills in ``_encode``,
    ``_predict``, ``_denoise`` and ``_decode``. Everything model-specific (timestep, guidance, scaling, packing,
    scheduler) stays behind them.

    The *level* of a state is the time of flow matching, in every family: 1 is pure noise, 0 is clean. A state at a
    level is ``alpha clean + beta noise``, with alpha and beta of the schedule.

    Attributes:
        network: the module that is evaluated once per step; the hypernetwork is a LoRA view of it.
        last_layer: dotted name, inside ``network``, of the layer that writes its output.
        schedule: noise schedule, and the sampler that walks on it.
        noise_shape: Z, the shape of one image's noise.
        name: folder or hub id and revision.
        shared_blocks: names of the network's blocks that it reaches into from elsewhere, so that their weights must be
            at hand for as long as the network is evaluated.
        float16: whether it computes right in float16; where it does not, ``dtype`` float16 and precision 16-mixed are
            refused.
        unused_layers: dotted names, inside ``network``, of layers that nothing of its output depends on; a LoRA on them
            would never get a gradient, so there is none.
        options_seen: names of the options that change what a hypernetwork sees, whose values an adapter remembers; and
            by what name the pipeline's own call takes each, None if it takes it not.
    """

    network: nn.Module
    schedule: Schedule
    last_layer: str
    noise_shape: tuple[int, ...]
    name: str
    float16: ClassVar[bool] = True
    shared_blocks: ClassVar[tuple[str, ...]] = ()
    unused_layers: tuple[str, ...] = ()
    options_seen: ClassVar[dict[str, str | None]] = {}
    _recompute = False  # of the decoder, in backward
    _away: dict[str, nn.Module] | None = None  # text encoders that are kept off the device
    _encoding_on: torch.device | None = None

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Encode prompts in the text encoders' own precision; no gradient flows into them.

        Raises:
            ValueError: if there is no prompt, or a text in the place of a list of texts.
        """
        if isinstance(prompts, str):
            raise ValueError(f"encode needs a list of prompts, got one text; write [{prompts!r}]")
        if not prompts:
            raise ValueError("encode needs at least one prompt, got none")
        with self.text_encoders_at_hand(), without_autocast(self._device):
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
    def text_encoders_at_hand(self, device: torch.device | None = None) -> Iterator[None]:
        """Have offloaded text encoders where they are needed, for one call of ``encode`` or for many.

        Args:
            device: where prompts are encoded meanwhile; the network's if left out.
        """
        away, before = [*(self._away or {}).values()], self._encoding_on
        self._encoding_on = before if device is None else device
        home = self._device if away else None
        moved = [encoder for encoder in away if _device(encoder) != home]
        for encoder in moved:
            encoder.to(home)
        try:
            yield
        finally:
            self._encoding_on = before
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

    def decode(self, latents: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [0, 1] of clean latents [B, *Z], in the decoder's own precision; differentiable."""
        check_shape("latents", latents, (None, *self.noise_shape))
        with without_autocast(latents.device):
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

    @abstractmethod
    def _decode(self, latents: Tensor) -> Tensor: ...

    def _check(self, noise: Tensor, conditioning: Conditioning) -> None:
        check_shape("noise", noise, (len(conditioning), *self.noise_shape))

    @property
    def _device(self) -> torch.device:
        """Where prompts are encoded: where the network is, unless something else was said."""
        return self._encoding_on or _device(self.network)


def _device(module: nn.Module) -> torch.device:
    """Where a module's weights are; the CPU if it has none."""
    return next((weight.device for weight in module.parameters()), torch.device("cpu"))
