"""SD-Turbo, and any Stable Diffusion 1 or 2 that a LoRA has distilled to few steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.fused_lora import FusedLora, fuse
from hypernoise_pl.generators.pipeline import (
    DecoderOptions,
    decode_images,
    decoder_of,
    image_size,
    load_pipeline,
    warn_of_cut,
)
from hypernoise_pl.generators.variance_preserving import Sampler, VariancePreservingGenerator
from hypernoise_pl.types import Conditioning


class SDTurbo(VariancePreservingGenerator):
    """A Stable Diffusion pipeline (diffusers ``StableDiffusionPipeline``) for few steps without guidance.

    For the same noise its images equal the pipeline's own with ``guidance_scale=0``. The safety checker is not loaded.

    Args:
        model: folder or hub id (``stabilityai/sd-turbo``).
        height: pixels, a multiple of 8; None for the network's own size.
        width: like ``height``.
        sampler: ``euler`` for SD-Turbo, ``lcm`` with an LCM LoRA, ``tcd`` with Hyper-SD's one-step LoRA.
        timesteps: falling times in 0 to 999 for as many steps as there are; the sampler's own for other numbers. The
            hypernetwork sees the first.
        eta: share of fresh noise in ``tcd``; Hyper-SD has 1, less gives more detail.
        lora: fused into the frozen weights first.
        dtype: of the frozen weights: ``float32``, ``bfloat16`` or ``float16``.
        revision: of a hub id.
        local_only: never ask the hub.
        decoding: how latents become images.

    Source: Sauer et al. 2023 (arXiv 2311.17042); diffusers' pipeline for the constants.
    """

    last_layer = "conv_out"
    network: Any
    decoder: Any

    def __init__(
        self,
        model: str,
        height: int | None = None,
        width: int | None = None,
        sampler: Sampler = "euler",
        timesteps: Sequence[int] | None = None,
        eta: float = 1.0,
        lora: FusedLora | None = None,
        dtype: str = "float32",
        revision: str | None = None,
        local_only: bool = False,
        decoding: DecoderOptions = DecoderOptions(),
    ) -> None:
        super().__init__()
        self.name = model if revision is None else f"{model}@{revision}"
        self.pipeline = load_pipeline(
            "StableDiffusionPipeline", model, dtype, revision=revision, local_files_only=local_only, safety_checker=None
        )
        if lora is not None:
            self.name += fuse(self.pipeline, lora, local_only)
        self._set_sampler(self.pipeline, sampler, timesteps, eta)
        self.network = self.pipeline.unet
        self.text_encoder = self.pipeline.text_encoder
        self.decoder = decoder_of(self.pipeline, decoding, dtype)
        config, compression = self.network.config, self.pipeline.vae_scale_factor
        if config.time_cond_proj_dim is not None:
            raise ValueError(f"generator {model}: a network that is told of guidance is not supported; use an LCM LoRA")
        height, width = image_size(height, width, config.sample_size * compression, compression)
        self.noise_shape = (config.in_channels, height // compression, width // compression)
        self.eval().requires_grad_(False)

    def _encode(self, prompts: list[str]) -> Conditioning:
        tokenizer = self.pipeline.tokenizer
        warn_of_cut(tokenizer, prompts, tokenizer.model_max_length)
        return self.conditioning_of(self.pipeline.encode_prompt(prompts, self._device, 1, False))

    def _evaluate(self, network: nn.Module, state: Tensor, conditioning: Conditioning, time: float) -> Tensor:
        dtype = self.network.dtype
        output: Tensor = network(
            state.to(dtype),
            torch.full((len(state),), time, device=state.device),
            encoder_hidden_states=conditioning.embeddings.to(dtype),
            return_dict=False,
        )[0]
        return output

    def _decode(self, latents: Tensor) -> Tensor:
        return decode_images(self.decoder, latents)
