"""Stable Diffusion 3.5 Turbo, and other distillations of Stable Diffusion 3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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


class StableDiffusion3(RectifiedFlowGenerator):
    """A Stable Diffusion 3 pipeline (diffusers ``StableDiffusion3Pipeline``) for few steps without guidance.

    For the same noise its images equal the pipeline's own with ``guidance_scale=0``.

    Args:
        model: folder or hub id (``stabilityai/stable-diffusion-3.5-large-turbo``).
        height: pixels, a multiple of 16; None for the network's own size.
        width: like ``height``.
        max_sequence_length: text tokens that the T5 encoder reads; a longer prompt is cut, with a warning.
        t5: False leaves the largest text encoder out (T5-XXL, about 10 GB in half precision); prompts are then read by
            the two CLIP encoders alone, and no longer than those read.
        dtype: of the frozen weights: ``float32``, ``bfloat16`` or ``float16``.
        revision: of a hub id.
        local_only: never ask the hub.
        decoding: how latents become images.

    Source: Esser et al. 2024 (arXiv 2403.03206); diffusers' pipeline for the constants.
    """

    last_layer = "proj_out"
    network: Any
    decoder: Any

    def __init__(
        self,
        model: str,
        height: int | None = None,
        width: int | None = None,
        max_sequence_length: int = 256,
        t5: bool = True,
        dtype: str = "float32",
        revision: str | None = None,
        local_only: bool = False,
        decoding: DecoderOptions = DecoderOptions(),
    ) -> None:
        super().__init__()
        self.name = model if revision is None else f"{model}@{revision}"
        without = {} if t5 else {"text_encoder_3": None, "tokenizer_3": None}
        self.pipeline = load_pipeline(
            "StableDiffusion3Pipeline", model, dtype, revision=revision, local_files_only=local_only, **without
        )
        self._set_scheduler(self.pipeline)
        self.network = self.pipeline.transformer
        self.text_encoder, self.text_encoder_2 = self.pipeline.text_encoder, self.pipeline.text_encoder_2
        self.text_encoder_3 = self.pipeline.text_encoder_3
        self.decoder = decoder_of(self.pipeline, decoding, dtype)
        self.max_sequence_length = max_sequence_length
        config, compression = self.network.config, self.pipeline.vae_scale_factor
        patch = config.patch_size * compression
        height, width = image_size(height, width, config.sample_size * compression, patch)
        if max(height, width) > config.pos_embed_max_size * patch:
            raise ValueError(f"height and width: at most {config.pos_embed_max_size * patch}, got {height} x {width}")
        self.noise_shape = (config.in_channels, height // compression, width // compression)
        self.eval().requires_grad_(False)

    def _encode(self, prompts: list[str]) -> Conditioning:
        if self.text_encoder_3 is None:
            warn_of_cut(self.pipeline.tokenizer, prompts, self.pipeline.tokenizer_max_length)
        else:
            warn_of_cut(self.pipeline.tokenizer_3, prompts, self.max_sequence_length)
        return self.conditioning_of(
            self.pipeline.encode_prompt(
                prompts,
                prompt_2=None,
                prompt_3=None,
                device=self._device,
                do_classifier_free_guidance=False,
                max_sequence_length=self.max_sequence_length,
            )
        )

    def conditioning_of(self, encoded: Sequence[Any]) -> Conditioning:
        """Features of every token and of the whole; those of the negative prompt are left."""
        return Conditioning(encoded[0], pooled=encoded[2])

    def _evaluate(self, network: nn.Module, state: Tensor, conditioning: Conditioning, level: float) -> Tensor:
        dtype, pooled = self.network.dtype, conditioning.pooled
        assert pooled is not None
        time = level * self.scheduler.config.num_train_timesteps
        output: Tensor = network(
            hidden_states=state.to(dtype),
            timestep=torch.full((len(state),), time, device=state.device),
            encoder_hidden_states=conditioning.embeddings.to(dtype),
            pooled_projections=pooled.to(dtype),
            return_dict=False,
        )[0]
        return output

    def _decode(self, latents: Tensor) -> Tensor:
        return decode_images(self.decoder, latents)
