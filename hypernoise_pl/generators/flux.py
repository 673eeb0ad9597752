"""Flux: FLUX.1 schnell for one to four steps, dev for more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.packing import pack_latents, unpack_latents
from hypernoise_pl.generators.pipeline import PipelineGenerator
from hypernoise_pl.generators.schedules.flow import EulerFlow
from hypernoise_pl.types import Conditioning


class Flux(PipelineGenerator):
    """A FLUX.1 pipeline (diffusers ``FluxPipeline``).

    Noise and latents are [C, H, W]; the network's tokens, one for each 2 x 2 patch, stay inside.

    Args:
        model: folder or hub id (``black-forest-labs/FLUX.1-schnell``).
        guidance_scale: distilled guidance scale of FLUX.1-dev; ignored by schnell.
        max_sequence_length: number of text tokens, padding included, at most 512; a longer prompt is cut, with a
            warning. The pipeline's default is 512; schnell's authors use 256.
        loading: options of every generator: ``height``, ``width`` (multiples of 16, 1024 if left out), ``dtype``,
            ``revision``, ``local_only``, ``decoding``.

    Source: Black Forest Labs 2024; diffusers' pipeline for the constants.
    """

    pipelines = ("FluxPipeline",)
    scheduler_override: ClassVar[tuple[str, dict[str, Any]] | None] = ("FlowMatchEulerDiscreteScheduler", {})
    trained_options: ClassVar[dict[str, str | None]] = {
        "guidance_scale": None,  # schnell ignores it, and is often called with another
        "max_sequence_length": "max_sequence_length",  # the network attends to padding too
    }

    def __init__(self, model: str, guidance_scale: float = 3.5, max_sequence_length: int = 256, **loading: Any) -> None:
        super().__init__(model, **loading)
        self.guidance_scale, self.max_sequence_length = guidance_scale, max_sequence_length
        self.schedule = EulerFlow(self.pipeline.scheduler, self.noise_shape[1] // 2 * (self.noise_shape[2] // 2))

    def _latent_layout(self) -> tuple[int, int, int]:
        return (
            self.network.config.in_channels // 4,
            2,
            self.pipeline.default_sample_size * self._compression,
        )

    def _encode(self, prompts: list[str]) -> Conditioning:
        self.truncation.check(self.pipeline.tokenizer_2, prompts, self.max_sequence_length)
        return self.conditioning_of(
            self.pipeline.encode_prompt(prompts, device=self._device, max_sequence_length=self.max_sequence_length)
        )

    def conditioning_of(self, encoded: Sequence[Any]) -> Conditioning:
        """T5's features of every token, and CLIP's pooled features."""
        return Conditioning(encoded[0], pooled=encoded[1])

    def unpack_latents(self, latents: Tensor) -> Tensor:
        """Latents [B, *Z] from the network's tokens [B, H/2 * W/2, 4 C]."""
        return unpack_latents(latents, *self.noise_shape[1:])

    def pack_latents(self, latents: Tensor) -> Tensor:
        """The network's tokens [B, H/2 * W/2, 4 C] from latents [B, *Z]."""
        return pack_latents(latents)

    def _forward_network(
        self, network: nn.Module, state: Tensor, conditioning: Conditioning, timestep: float
    ) -> Tensor:
        dtype, pooled, device = self.network.dtype, conditioning.pooled, state.device
        assert pooled is not None
        guided = self.network.config.guidance_embeds
        _, height, width = self.noise_shape
        rows, columns = torch.meshgrid(torch.arange(height // 2), torch.arange(width // 2), indexing="ij")
        image_ids = torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).flatten(0, 1).to(device, dtype)
        output: Tensor = network(
            hidden_states=pack_latents(state.to(dtype)),
            timestep=torch.full((len(state),), 1000 * timestep, device=device, dtype=dtype)
            / 1000,  # rounded as in the pipeline
            guidance=torch.full((len(state),), self.guidance_scale, device=device) if guided else None,
            pooled_projections=pooled.to(dtype),
            encoder_hidden_states=conditioning.embeddings.to(dtype),
            txt_ids=torch.zeros(conditioning.embeddings.shape[1], 3, device=device, dtype=dtype),
            img_ids=image_ids,
            return_dict=False,
        )[0]
        return unpack_latents(output, height, width)
