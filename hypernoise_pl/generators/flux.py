"""FLUX.1: schnell for one to four steps, dev for search with a few more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hypernoise_pl.generators.pipeline import (
    DecoderOptions,
    decode_images,
    decoder_of,
    image_size,
    load_pipeline,
    warn_of_cut,
)
from hypernoise_pl.generators.rectified_flow import RectifiedFlowGenerator
from hypernoise_pl.types import Conditioning


class Flux(RectifiedFlowGenerator):
    """A FLUX.1 pipeline (diffusers ``FluxPipeline``).

    For the same noise its images equal the pipeline's own. Noise and latents are [C, H, W]; the network's own order,
    one token a patch of two by two latents, stays inside.

    Args:
        model: folder or hub id (``black-forest-labs/FLUX.1-schnell``).
        height: pixels, a multiple of 16; None for 1024.
        width: like ``height``.
        guidance_scale: what dev's network is told of guidance; schnell's is told nothing.
        max_sequence_length: text tokens read, 256 at the most for schnell and 512 for dev; a longer prompt is cut,
            with a warning.
        dtype: of the frozen weights: ``float32``, ``bfloat16`` or ``float16``.
        revision: of a hub id.
        local_only: never ask the hub.
        decoding: how latents become images.

    Source: Black Forest Labs 2024; diffusers' pipeline for the constants.
    """

    last_layer = "proj_out"
    network: Any
    decoder: Any

    def __init__(
        self,
        model: str,
        height: int | None = None,
        width: int | None = None,
        guidance_scale: float = 3.5,
        max_sequence_length: int = 256,
        dtype: str = "float32",
        revision: str | None = None,
        local_only: bool = False,
        decoding: DecoderOptions = DecoderOptions(),
    ) -> None:
        super().__init__()
        self.name = model if revision is None else f"{model}@{revision}"
        self.pipeline = load_pipeline("FluxPipeline", model, dtype, revision=revision, local_files_only=local_only)
        self._set_scheduler(self.pipeline)
        self.network = self.pipeline.transformer
        self.text_encoder, self.text_encoder_2 = self.pipeline.text_encoder, self.pipeline.text_encoder_2
        compression = self.pipeline.vae_scale_factor
        self.decoder = decoder_of(self.pipeline, decoding, dtype)
        self.guidance_scale = guidance_scale
        self.max_sequence_length = max_sequence_length
        side = self.pipeline.default_sample_size * compression
        height, width = image_size(height, width, side, 2 * compression)
        self.noise_shape = (self.network.config.in_channels // 4, height // compression, width // compression)
        self.eval().requires_grad_(False)

    def _encode(self, prompts: list[str]) -> Conditioning:
        warn_of_cut(self.pipeline.tokenizer_2, prompts, self.max_sequence_length)
        return self.conditioning_of(
            self.pipeline.encode_prompt(prompts, device=self._device, max_sequence_length=self.max_sequence_length)
        )

    def conditioning_of(self, encoded: Sequence[Any]) -> Conditioning:
        """T5's features of every token and CLIP's of the whole."""
        return Conditioning(encoded[0], pooled=encoded[1])

    def from_pipeline(self, latents: Tensor) -> Tensor:
        """[B, *Z] of the network's tokens."""
        return _unpacked(latents, *self.noise_shape[1:])

    def to_pipeline(self, noise: Tensor) -> Tensor:
        """The network's tokens [B, H/2 * W/2, 4 C]."""
        return _packed(noise)

    def _schedule(self, steps: int) -> dict[str, Any]:
        return {"sigmas": np.linspace(1, 1 / steps, steps), "mu": self._mu()}

    def _evaluate(self, network: nn.Module, state: Tensor, conditioning: Conditioning, level: float) -> Tensor:
        dtype, pooled, device = self.network.dtype, conditioning.pooled, state.device
        assert pooled is not None
        told = self.network.config.guidance_embeds
        _, height, width = self.noise_shape
        rows, columns = torch.meshgrid(torch.arange(height // 2), torch.arange(width // 2), indexing="ij")
        places = torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).flatten(0, 1).to(device, dtype)
        output: Tensor = network(
            hidden_states=_packed(state.to(dtype)),
            timestep=torch.full((len(state),), 1000 * level, device=device, dtype=dtype) / 1000,  # rounded as there
            guidance=torch.full((len(state),), self.guidance_scale, device=device) if told else None,
            pooled_projections=pooled.to(dtype),
            encoder_hidden_states=conditioning.embeddings.to(dtype),
            txt_ids=torch.zeros(conditioning.embeddings.shape[1], 3, device=device, dtype=dtype),
            img_ids=places,
            return_dict=False,
        )[0]
        return _unpacked(output, height, width)

    def _decode(self, latents: Tensor) -> Tensor:
        return decode_images(self.decoder, latents)


def _packed(latents: Tensor) -> Tensor:
    """[B, H/2 * W/2, 4 C] of latents [B, C, H, W]: one token a patch, channels first inside it."""
    patches = latents.unfold(2, 2, 2).unfold(3, 2, 2)  # [B, C, H/2, W/2, 2, 2]
    return patches.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)


def _unpacked(tokens: Tensor, height: int, width: int) -> Tensor:
    """Latents [B, C, H, W] of tokens."""
    patches = tokens.unflatten(1, (height // 2, width // 2)).unflatten(3, (-1, 2, 2))  # [B, H/2, W/2, C, 2, 2]
    return patches.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)
