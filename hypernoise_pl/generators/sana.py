"""SANA-Sprint: a TrigFlow consistency model; one step is ``noise - network(noise)``."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.base import SteppedGenerator
from hypernoise_pl.generators.pipeline import DecoderOptions, at_least_single, decoder_of, load_pipeline, warn_of_cut
from hypernoise_pl.types import Conditioning

FIRST_TIMESTEP = 1.57080  # diffusers' rounding of pi / 2, the pipeline's default ``max_timesteps``
MIDDLE_TIMESTEP = 1.3  # the pipeline's default for two steps


class SanaSprint(SteppedGenerator):
    """A SANA-Sprint pipeline (diffusers ``SanaSprintPipeline``), real or in miniature.

    For the same noise its images equal the pipeline's own.

    Args:
        model: folder or hub id.
        height: pixels, a multiple of 32; None for the network's own size.
        width: like ``height``.
        guidance_scale: what the network is told of guidance; 4.5 is the model's default.
        max_sequence_length: text tokens, the first included; a longer prompt is cut, with a warning.
        instruction: prepended to every prompt before encoding (the pipeline's ``complex_human_instruction``).
        dtype: of the frozen weights: ``float32``, ``bfloat16`` or ``float16``.
        revision: of a hub id.
        local_only: never ask the hub.
        components: Python module to import first, where the folder names classes that are not diffusers' own.
        decoding: how latents become images.

    Source: Chen et al. 2025 (SANA-Sprint, arXiv 2503.09641); diffusers' pipeline for the constants.
    """

    last_layer = "proj_out"
    network: Any
    decoder: Any

    def __init__(
        self,
        model: str,
        height: int | None = None,
        width: int | None = None,
        guidance_scale: float = 4.5,
        max_sequence_length: int = 300,
        instruction: list[str] | None = None,
        dtype: str = "float32",
        revision: str | None = None,
        local_only: bool = False,
        components: str | None = None,
        decoding: DecoderOptions = DecoderOptions(),
    ) -> None:
        super().__init__()
        if components is not None:
            importlib.import_module(components)
        self.name = model if revision is None else f"{model}@{revision}"
        self.pipeline = load_pipeline(
            "SanaSprintPipeline", model, dtype, revision=revision, local_files_only=local_only
        )
        self.network = self.pipeline.transformer
        self.text_encoder = self.pipeline.text_encoder
        self.decoder = decoder_of(self.pipeline, decoding, dtype)
        self.guidance_scale = guidance_scale
        self.max_sequence_length = max_sequence_length
        self.instruction = instruction
        config, compression = self.network.config, self.pipeline.vae_scale_factor
        side = config.sample_size * compression
        height, width = height or side, width or side
        if height % 32 or width % 32:
            raise ValueError(f"height and width must be multiples of 32, got {height} x {width}")
        self.noise_shape = (config.in_channels, height // compression, width // compression)
        self.eval().requires_grad_(False)

    def _encode(self, prompts: list[str]) -> Conditioning:
        warn_of_cut(self.pipeline.tokenizer, prompts, self.max_sequence_length)
        encoded = self.pipeline.encode_prompt(
            prompts,
            device=self._device,
            max_sequence_length=self.max_sequence_length,
            complex_human_instruction=self.instruction,
        )
        return self.conditioning_of(encoded)

    def conditioning_of(self, encoded: Sequence[Any]) -> Conditioning:
        """Text features and which of them count."""
        return Conditioning(encoded[0], encoded[1])

    def _predict(self, network: nn.Module, noise: Tensor, conditioning: Conditioning) -> Tensor:
        # TrigFlow's time pi/2 is SCM time 1, where the network's input is the noise itself
        return self._evaluate(network, noise, conditioning, 1.0)

    def levels(self, steps: int) -> list[float]:
        """The pipeline's own times, as SCM times."""
        times = torch.linspace(FIRST_TIMESTEP, 0, steps + 1).tolist()
        if steps == 2:
            times[1] = MIDDLE_TIMESTEP
        return [math.sin(time) / (math.cos(time) + math.sin(time)) for time in times]

    def _denoise(self, network: nn.Module, state: Tensor, conditioning: Conditioning, level: float) -> Tensor:
        alpha, beta = self._coefficients(level)
        norm = math.hypot(level, 1 - level)
        scaled = at_least_single(state) * norm
        out = at_least_single(self._evaluate(network, scaled, conditioning, level))
        velocity = ((1 - 2 * level) * scaled + (1 - 2 * level + 2 * level * level) * out) / norm
        return alpha * at_least_single(state) - beta * velocity

    def _coefficients(self, level: float) -> tuple[float, float]:
        # TrigFlow's time t has cosine and sine; SCM's is sin t / (cos t + sin t)
        time = math.atan2(level, 1 - level)
        return math.cos(time), math.sin(time)

    def _decode(self, latents: Tensor) -> Tensor:
        latents = latents.to(self.decoder.dtype) / self.decoder.config.scaling_factor
        images = self.decoder.decode(latents, return_dict=False)[0]
        return (at_least_single(images) / 2 + 0.5).clamp(0, 1)

    def _evaluate(self, network: nn.Module, state: Tensor, conditioning: Conditioning, time: float) -> Tensor:
        batch = len(state)
        dtype = self.network.dtype
        guidance = self.guidance_scale * self.network.config.guidance_embeds_scale
        output: Tensor = network(
            state.to(dtype),
            encoder_hidden_states=conditioning.embeddings.to(dtype),
            encoder_attention_mask=conditioning.mask,
            guidance=torch.full((batch,), guidance, device=state.device, dtype=conditioning.embeddings.dtype),
            timestep=torch.full((batch,), time, device=state.device),
            return_dict=False,
        )[0]
        return output
