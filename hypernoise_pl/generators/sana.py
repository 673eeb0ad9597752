"""Sana: SANA and SANA 1.5, in about twenty steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.pipeline import PipelineGenerator
from hypernoise_pl.generators.schedules.flow import DPMSolverFlow
from hypernoise_pl.types import Conditioning


class Sana(PipelineGenerator):
    """A SANA pipeline (diffusers ``SanaPipeline``); ``SanaSprint`` reads SANA-Sprint's.

    Its images equal the pipeline's own, unless the pipeline rounds the size to one of its bins.

    Args:
        model: folder or hub id (``Efficient-Large-Model/SANA1.5_1.6B_1024px_diffusers``).
        guidance_scale: scale of classifier-free guidance, which doubles the batch of an evaluation; values <= 1 disable
            it.
        max_sequence_length: number of text tokens, the first included; a longer prompt is cut, with a warning.
        instruction: lines before every prompt in its encoding (the pipeline's ``complex_human_instruction``).
        loading: options of every generator: ``height``, ``width`` (multiples of 32), ``dtype``, ``revision``,
            ``local_only``, ``decoding``.

    Source: Xie et al. 2024 (SANA, arXiv 2410.10629); Xie et al. 2025 (SANA 1.5, arXiv 2501.18427).
    """

    pipelines = ("SanaPipeline",)
    scheduler_override: ClassVar[tuple[str, dict[str, Any]] | None] = (
        "DPMSolverMultistepScheduler",
        {"use_flow_sigmas": True, "prediction_type": "flow_prediction"},
    )
    # text encoder and autoencoder overflow in float16 (diffusers' documentation has both in bfloat16), and under
    # autocast the linear attention divides by a number that underflows to 0
    float16 = False
    trained_options: ClassVar[dict[str, str | None]] = {
        "instruction": "complex_human_instruction",
        "max_sequence_length": None,  # padding is masked
    }

    def __init__(
        self,
        model: str,
        guidance_scale: float = 4.5,
        max_sequence_length: int = 300,
        instruction: list[str] | None = None,
        **loading: Any,
    ) -> None:
        super().__init__(model, **loading)
        self.classifier_free_guidance = guidance_scale
        self.max_sequence_length, self.instruction = max_sequence_length, instruction
        self.schedule = DPMSolverFlow(self.pipeline.scheduler)

    def _encode(self, prompts: list[str]) -> Conditioning:
        self.truncation.check(self.pipeline.tokenizer, prompts, self.max_sequence_length)
        return self._encode_after(prompts, self.instruction)

    def _null_conditioning(self) -> Conditioning:
        return self._encode_after([""], None)

    def _encode_after(self, prompts: list[str], instruction: list[str] | None) -> Conditioning:
        encoded = self.pipeline.encode_prompt(
            prompts,
            do_classifier_free_guidance=False,
            device=self._device,
            max_sequence_length=self.max_sequence_length,
            complex_human_instruction=instruction,
        )
        return self.conditioning_of(encoded)

    def conditioning_of(self, encoded: Sequence[Any]) -> Conditioning:
        """Text features and their mask; those of the negative prompt are left out."""
        return Conditioning(encoded[0], encoded[1])

    def _forward_network(
        self, network: nn.Module, state: Tensor, conditioning: Conditioning, timestep: float
    ) -> Tensor:
        dtype = self.network.dtype
        output: Tensor = network(
            state.to(dtype),
            encoder_hidden_states=conditioning.embeddings.to(dtype),
            encoder_attention_mask=conditioning.mask,
            timestep=torch.full((len(state),), timestep * self.network.config.timestep_scale, device=state.device),
            return_dict=False,
        )[0]
        return output
