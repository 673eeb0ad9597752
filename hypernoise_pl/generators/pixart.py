"""PixArt: diffusion transformers with a T5; alpha and Sigma in twenty steps, alpha by DMD or LCM in one to four."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.diffusion import DiffusionGenerator
from hypernoise_pl.generators.pipeline import DecoderOptions, decode_images, decoder_of, load_pipeline, warn_of_cut
from hypernoise_pl.pretrained import load_pretrained
from hypernoise_pl.types import Conditioning


class PixArt(DiffusionGenerator):
    """A PixArt pipeline (diffusers ``PixArtAlphaPipeline`` or ``PixArtSigmaPipeline``), real or in miniature.

    For the same noise its images equal the pipeline's own (at a size that the pipeline does not round to a bin).

    Args:
        model: folder or hub id.
        transformer: folder or hub id whose ``transformer`` takes the place of the model's own, for weights that are
            published alone (DMD's); None for the model's own.
        first_timestep: for a model distilled to one step, what it is told of pure noise (400 for DMD); None for
            models that follow their scheduler.
        height: pixels, a multiple of 16; None for the network's own size.
        width: like ``height``.
        guidance_scale: of classifier-free guidance, which doubles the batch of an evaluation; up to 1 there is none.
            None for 4.5, the pipelines' default, and for none in distilled models (DMD, LCM).
        max_sequence_length: text tokens, the last included; a longer prompt is cut, with a warning. None for the
            pipeline's own: 120 for alpha, 300 for Sigma.
        dtype: of the frozen weights: ``float32``, ``bfloat16`` or ``float16``.
        revision: of a hub id.
        local_only: never ask the hub.
        decoding: how latents become images.

    Raises:
        FileNotFoundError: if a folder or a file of it is missing.
        ValueError: if the folder holds another pipeline, its scheduler walks otherwise, or a size does not fit.

    Source: Chen et al. 2023 (PixArt-alpha, arXiv 2310.00426); Chen et al. 2024 (PixArt-Sigma, arXiv 2403.04692), whose
        supplement has DMD and its 400.
    """

    last_layer = "proj_out"
    network: Any
    decoder: Any

    def __init__(
        self,
        model: str,
        transformer: str | None = None,
        first_timestep: int | None = None,
        height: int | None = None,
        width: int | None = None,
        guidance_scale: float | None = None,
        max_sequence_length: int | None = None,
        dtype: str = "float32",
        revision: str | None = None,
        local_only: bool = False,
        decoding: DecoderOptions = DecoderOptions(),
    ) -> None:
        super().__init__()
        from diffusers import PixArtAlphaPipeline, PixArtTransformer2DModel

        self.name = "+".join(part for part in (model, transformer) if part) + (f"@{revision}" if revision else "")
        asked = {"revision": revision, "local_files_only": local_only}
        self.pipeline = load_pipeline(("PixArtAlphaPipeline", "PixArtSigmaPipeline"), model, dtype, **asked)
        is_alpha = isinstance(self.pipeline, PixArtAlphaPipeline)
        if transformer is not None:
            options = {"subfolder": "transformer", "local_files_only": local_only}
            other = load_pretrained(PixArtTransformer2DModel, transformer, "generator", **options)
            self.pipeline.transformer = other.to(self.pipeline.transformer.dtype)
        self.network = self.pipeline.transformer
        self.text_encoder = self.pipeline.text_encoder
        self.decoder = decoder_of(self.pipeline, decoding, dtype)
        self._follow(self.pipeline.scheduler, first_timestep)
        self.guidance_scale = guidance_scale if guidance_scale is not None else (4.5 if self.order else 1.0)
        self.max_sequence_length = max_sequence_length or (120 if is_alpha else 300)
        self._size(height, width)
        self._nothing: Conditioning | None = None
        self.eval().requires_grad_(False)

    def _size(self, height: int | None, width: int | None) -> None:
        config, compression = self.network.config, self.pipeline.vae_scale_factor
        side, grain = config.sample_size * compression, config.patch_size * compression
        height, width = height or side, width or side
        if height % grain or width % grain:
            raise ValueError(f"height and width must be multiples of {grain}, got {height} x {width}")
        self.height, self.width = height, width
        self.noise_shape = (config.in_channels, height // compression, width // compression)

    def _encode(self, prompts: list[str]) -> Conditioning:
        read = [prompt.lower().strip() for prompt in prompts]  # as the pipeline does
        warn_of_cut(self.pipeline.tokenizer, read, self.max_sequence_length)
        return self._read(prompts)

    def _read(self, prompts: list[str]) -> Conditioning:
        encoded = self.pipeline.encode_prompt(
            prompts,
            do_classifier_free_guidance=False,
            device=self._device,
            max_sequence_length=self.max_sequence_length,
        )
        return self.conditioning_of(encoded)

    def conditioning_of(self, encoded: Sequence[Any]) -> Conditioning:
        """Text features and which of them count; those of the negative prompt are left."""
        return Conditioning(encoded[0], encoded[1])

    @torch.no_grad()
    def _empty(self) -> Conditioning:
        if self._nothing is None:
            with self.text_encoders_at_hand():
                self._nothing = self._read([""])
        return self._nothing

    def _noise_in(self, network: nn.Module, state: Tensor, conditioning: Conditioning, timestep: float) -> Tensor:
        dtype, batch = self.network.dtype, len(state)
        extra: dict[str, Tensor | None] = {"resolution": None, "aspect_ratio": None}
        if self.network.use_additional_conditions:  # alpha at 1024 pixels is told the size
            size = torch.tensor([[self.height, self.width]], device=state.device, dtype=dtype)
            ratio = torch.tensor([[self.height / self.width]], device=state.device, dtype=dtype)
            extra = {"resolution": size.repeat(batch, 1), "aspect_ratio": ratio.repeat(batch, 1)}
        output: Tensor = network(
            state.to(dtype),
            encoder_hidden_states=conditioning.embeddings.to(dtype),
            encoder_attention_mask=conditioning.mask,
            timestep=torch.full((batch,), timestep, device=state.device),
            added_cond_kwargs=extra,
            return_dict=False,
        )[0]
        return output[:, : self.noise_shape[0]]  # a second half, where there is one, is the learned variance

    def _decode(self, latents: Tensor) -> Tensor:
        return decode_images(self.decoder, latents)
