"""SDXL-Turbo, and SDXL with a LoRA that has distilled it to few steps (LCM, Hyper-SD, DMD2)."""

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


class SDXLTurbo(VariancePreservingGenerator):
    """A Stable Diffusion XL pipeline (diffusers ``StableDiffusionXLPipeline``) for few steps without guidance.

    For the same noise its images equal the pipeline's own with ``guidance_scale=0``. What the LoRAs want:

    ===============  =================  ========================  =======
    LoRA             sampler            timesteps                 eta
    ===============  =================  ========================  =======
    none (Turbo)     euler_ancestral
    LCM              lcm
    DMD2, 4 steps    lcm                [999, 749, 499, 249]
    Hyper-SD, 1      tcd                                          1.0
    Hyper-SD, N      tcd                the N trailing ones       0.0
    ===============  =================  ========================  =======

    Args:
        model: folder or hub id (``stabilityai/sdxl-turbo``, or SDXL's base for a LoRA).
        height: pixels, a multiple of 8; None for the network's own size.
        width: like ``height``.
        sampler: ``euler_ancestral`` for SDXL-Turbo; others as in the table.
        timesteps: falling times in 0 to 999 for as many steps as there are; the sampler's own for other numbers. The
            hypernetwork sees the first.
        eta: share of fresh noise in ``tcd``; less gives more detail.
        lora: fused into the frozen weights first.
        dtype: of the frozen weights: ``float32``, ``bfloat16`` or ``float16``.
        revision: of a hub id.
        local_only: never ask the hub.
        decoding: how latents become images.

    Source: Sauer et al. 2023 (arXiv 2311.17042); diffusers' pipeline for the constants; the LoRAs' own model cards
        for their samplers.
    """

    last_layer = "conv_out"
    network: Any
    decoder: Any

    def __init__(
        self,
        model: str,
        height: int | None = None,
        width: int | None = None,
        sampler: Sampler = "euler_ancestral",
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
            "StableDiffusionXLPipeline", model, dtype, revision=revision, local_files_only=local_only
        )
        if lora is not None:
            self.name += fuse(self.pipeline, lora, local_only)
        self._set_sampler(self.pipeline, sampler, timesteps, eta)
        self.network = self.pipeline.unet
        self.text_encoder, self.text_encoder_2 = self.pipeline.text_encoder, self.pipeline.text_encoder_2
        self.decoder = decoder_of(self.pipeline, decoding, dtype)
        if dtype == "float16" and self.decoder.config.force_upcast:
            self.decoder.float()  # the original one overflows in half precision
        config, compression = self.network.config, self.pipeline.vae_scale_factor
        self._size = image_size(height, width, config.sample_size * compression, compression)
        self.noise_shape = (config.in_channels, *(side // compression for side in self._size))
        self.eval().requires_grad_(False)

    def _encode(self, prompts: list[str]) -> Conditioning:
        tokenizer = self.pipeline.tokenizer
        warn_of_cut(tokenizer, prompts, tokenizer.model_max_length)
        return self.conditioning_of(
            self.pipeline.encode_prompt(prompts, device=self._device, do_classifier_free_guidance=False)
        )

    def conditioning_of(self, encoded: Sequence[Any]) -> Conditioning:
        """Features of every token and of the whole; those of the negative prompt are left."""
        return Conditioning(encoded[0], pooled=encoded[2])

    def _evaluate(self, network: nn.Module, state: Tensor, conditioning: Conditioning, time: float) -> Tensor:
        dtype, pooled = self.network.dtype, conditioning.pooled
        assert pooled is not None
        # original size, crop and target size, as the pipeline's defaults have them
        sizes = torch.tensor([*self._size, 0, 0, *self._size], device=state.device, dtype=dtype)
        output: Tensor = network(
            state.to(dtype),
            torch.full((len(state),), time, device=state.device),
            encoder_hidden_states=conditioning.embeddings.to(dtype),
            added_cond_kwargs={"text_embeds": pooled.to(dtype), "time_ids": sizes.expand(len(state), -1)},
            return_dict=False,
        )[0]
        return output

    def _decode(self, latents: Tensor) -> Tensor:
        return decode_images(self.decoder, latents)
