"""SANA and SANA 1.5: linear diffusion transformers of flow matching, in about twenty steps."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.flow import FlowGenerator
from hypernoise_pl.generators.pipeline import DecoderOptions, decode_images, decoder_of, load_pipeline, warn_of_cut
from hypernoise_pl.generators.solver import guided, solver_order
from hypernoise_pl.types import Conditioning


class Sana(FlowGenerator):
    """A SANA pipeline (diffusers ``SanaPipeline``), real or in miniature; SANA-Sprint has a class of its own.

    For the same noise its images equal the pipeline's own (at a size that the pipeline does not round to a bin).

    Args:
        model: folder or hub id.
        height: pixels, a multiple of 32; None for the network's own size.
        width: like ``height``.
        guidance_scale: of classifier-free guidance, which doubles the batch of an evaluation; up to 1 there is none.
        max_sequence_length: text tokens, the first included; a longer prompt is cut, with a warning.
        instruction: prepended to every prompt before encoding (the pipeline's ``complex_human_instruction``).
        dtype: of the frozen weights: ``float32``, ``bfloat16`` or ``float16``.
        revision: of a hub id.
        local_only: never ask the hub.
        decoding: how latents become images.

    Raises:
        FileNotFoundError: if the folder or a file of it is missing.
        ValueError: if its scheduler walks otherwise than is written here, or a size does not fit.

    Source: Xie et al. 2024 (SANA, arXiv 2410.10629); Xie et al. 2025 (SANA 1.5, arXiv 2501.18427).
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
        decoding: DecoderOptions = DecoderOptions(),
    ) -> None:
        super().__init__()
        from diffusers import DPMSolverMultistepScheduler

        self.name = model if revision is None else f"{model}@{revision}"
        self.pipeline = load_pipeline("SanaPipeline", model, dtype, revision=revision, local_files_only=local_only)
        self.network = self.pipeline.transformer
        self.text_encoder = self.pipeline.text_encoder
        self.decoder = decoder_of(self.pipeline, decoding, dtype)
        kind, solver = type(self.pipeline.scheduler), self.pipeline.scheduler.config
        if not issubclass(kind, DPMSolverMultistepScheduler) or not solver.use_flow_sigmas:
            raise ValueError(
                f"scheduler must be a DPMSolverMultistepScheduler with use_flow_sigmas, got {kind.__name__}"
            )
        self.order = solver_order(solver)
        self.guidance_scale = guidance_scale
        self.max_sequence_length = max_sequence_length
        self.instruction = instruction
        config, compression = self.network.config, self.pipeline.vae_scale_factor
        side = config.sample_size * compression
        height, width = height or side, width or side
        if height % 32 or width % 32:
            raise ValueError(f"height and width must be multiples of 32, got {height} x {width}")
        self.noise_shape = (config.in_channels, height // compression, width // compression)
        self._nothing: Conditioning | None = None
        self.eval().requires_grad_(False)

    def _encode(self, prompts: list[str]) -> Conditioning:
        warn_of_cut(self.pipeline.tokenizer, prompts, self.max_sequence_length)
        return self._read(prompts, self.instruction)

    def _read(self, prompts: list[str], instruction: list[str] | None) -> Conditioning:
        encoded = self.pipeline.encode_prompt(
            prompts,
            do_classifier_free_guidance=False,
            device=self._device,
            max_sequence_length=self.max_sequence_length,
            complex_human_instruction=instruction,
        )
        return self.conditioning_of(encoded)

    def conditioning_of(self, encoded: Sequence[Any]) -> Conditioning:
        """Text features and which of them count; those of the negative prompt are left."""
        return Conditioning(encoded[0], encoded[1])

    @torch.no_grad()
    def _empty(self) -> Conditioning:
        if self._nothing is None:
            with self.text_encoders_at_hand():
                self._nothing = self._read([""], None)
        return self._nothing

    def levels(self, steps: int) -> list[float]:
        """Those of the scheduler, which begin just below 1."""
        scheduler = copy.deepcopy(self.pipeline.scheduler)  # it would remember its steps
        scheduler.set_timesteps(steps)
        levels: list[float] = scheduler.sigmas.tolist()
        return levels

    def _predict(self, network: nn.Module, noise: Tensor, conditioning: Conditioning) -> Tensor:
        return self._evaluate(network, noise, conditioning, self.levels(1)[0])

    def _velocity(self, network: nn.Module, state: Tensor, conditioning: Conditioning, level: float) -> Tensor:
        def predict(states: Tensor, conditionings: Conditioning) -> Tensor:
            return self._evaluate(network, states, conditionings, level)

        return guided(predict, state, conditioning, self._empty, self.guidance_scale)

    def _evaluate(self, network: nn.Module, state: Tensor, conditioning: Conditioning, level: float) -> Tensor:
        dtype, config = self.network.dtype, self.pipeline.scheduler.config
        # the scheduler counts in whole timesteps, rounded down
        time = min(int(level * config.num_train_timesteps), config.num_train_timesteps - 1)
        output: Tensor = network(
            state.to(dtype),
            encoder_hidden_states=conditioning.embeddings.to(dtype),
            encoder_attention_mask=conditioning.mask,
            timestep=torch.full((len(state),), time * self.network.config.timestep_scale, device=state.device),
            return_dict=False,
        )[0]
        return output

    def _decode(self, latents: Tensor) -> Tensor:
        return decode_images(self.decoder, latents)
