"""StableDiffusion3: Stable Diffusion 3.5 Turbo, and other distillations of Stable Diffusion 3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.pipeline import PipelineGenerator
from hypernoise_pl.generators.schedules.flow import EulerFlow
from hypernoise_pl.types import Conditioning


class StableDiffusion3(PipelineGenerator):
    """A Stable Diffusion 3 pipeline (diffusers ``StableDiffusion3Pipeline``) for few steps without guidance.

    Its images equal the pipeline's own with ``guidance_scale=0``.

    Args:
        model: folder or hub id (``stabilityai/stable-diffusion-3.5-large-turbo``).
        max_sequence_length: number of T5's text tokens; a longer prompt is cut, with a warning.
        t5: False leaves out the largest text encoder (T5-XXL, about 10 GB in half precision); the two CLIP encoders
            then read prompts alone, up to their own length.
        loading: options of every generator: ``height``, ``width`` (multiples of 16), ``dtype``, ``revision``,
            ``local_only``, ``decoding``.

    Raises:
        ValueError: if ``t5`` is False for a loaded pipeline that has it, or the size is beyond the network's.

    Source: Esser et al. 2024 (arXiv 2403.03206); diffusers' pipeline for the constants.
    """

    pipelines = ("StableDiffusion3Pipeline",)
    call: ClassVar[dict[str, Any]] = {"guidance_scale": 0.0}
    trained_options: ClassVar[dict[str, str | None]] = {"max_sequence_length": "max_sequence_length", "t5": None}
    scheduler_override: ClassVar[tuple[str, dict[str, Any]] | None] = ("FlowMatchEulerDiscreteScheduler", {})

    def __init__(self, model: str, max_sequence_length: int = 256, t5: bool = True, **loading: Any) -> None:
        if not t5:
            self.replaced_components = {"text_encoder_3": None, "tokenizer_3": None}
        super().__init__(model, **loading)
        self.max_sequence_length, self.t5 = max_sequence_length, self.text_encoder_3 is not None
        if self.t5 and not t5:
            raise ValueError(
                "t5 is false, and the pipeline has its T5; load it with text_encoder_3=None, tokenizer_3=None"
            )
        config = self.network.config
        largest = config.pos_embed_max_size * config.patch_size * self._compression
        if max(self.height, self.width) > largest:
            raise ValueError(f"height and width: at most {largest}, got {self.height} x {self.width}")
        # the network drops the last block's text stream, and its queries with it
        self.unused_layers = (f"transformer_blocks.{len(self.network.transformer_blocks) - 1}.attn.add_q_proj",)
        tokens = self.noise_shape[1] // config.patch_size * (self.noise_shape[2] // config.patch_size)
        self.schedule = EulerFlow(self.pipeline.scheduler, tokens, uniform=False)

    def _encode(self, prompts: list[str]) -> Conditioning:
        if self.text_encoder_3 is None:
            self.truncation.check(self.pipeline.tokenizer, prompts, self.pipeline.tokenizer_max_length)
        else:
            self.truncation.check(self.pipeline.tokenizer_3, prompts, self.max_sequence_length)
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
        """Features of every token, and pooled features; those of the negative prompt are left out."""
        return Conditioning(encoded[0], pooled=encoded[2])

    def _forward_network(
        self, network: nn.Module, state: Tensor, conditioning: Conditioning, timestep: float
    ) -> Tensor:
        dtype, pooled = self.network.dtype, conditioning.pooled
        assert pooled is not None
        timestep *= self.pipeline.scheduler.config.num_train_timesteps
        output: Tensor = network(
            hidden_states=state.to(dtype),
            timestep=torch.full((len(state),), timestep, device=state.device),
            encoder_hidden_states=conditioning.embeddings.to(dtype),
            pooled_projections=pooled.to(dtype),
            return_dict=False,
        )[0]
        return output
