"""SanaSprint: SANA-Sprint, a TrigFlow consistency model; one step is ``noise - network(noise)``."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.pipeline import PipelineGenerator
from hypernoise_pl.generators.schedules.trigflow import TrigFlow
from hypernoise_pl.types import Conditioning


class SanaSprint(PipelineGenerator):
    """A SANA-Sprint pipeline (diffusers ``SanaSprintPipeline``).

    Args:
        model: folder or hub id (``Efficient-Large-Model/Sana_Sprint_0.6B_1024px_diffusers``).
        guidance_scale: guidance scale that the network is conditioned on; 4.5 is the model's default.
        max_sequence_length: number of text tokens, the first included; a longer prompt is cut, with a warning.
        instruction: lines before every prompt in its encoding (the pipeline's ``complex_human_instruction``, which has
            a default there); Noise Hypernetworks uses none.
        components: Python module to import before loading, for a folder whose classes are not diffusers' own.
        loading: options of every generator: ``height``, ``width`` (multiples of 32), ``dtype``, ``revision``,
            ``local_only``, ``decoding``.

    Source: Chen et al. 2025 (SANA-Sprint, arXiv 2503.09641); diffusers' pipeline for the constants.
    """

    pipelines = ("SanaSprintPipeline",)
    # text encoder and autoencoder overflow in float16 (diffusers' documentation has both in bfloat16), and under
    # autocast the linear attention divides by a number that underflows to 0
    float16 = False
    trained_options: ClassVar[dict[str, str | None]] = {
        "guidance_scale": "guidance_scale",
        "instruction": "complex_human_instruction",
        "max_sequence_length": None,  # padding is masked
    }

    def __init__(
        self,
        model: str,
        guidance_scale: float = 4.5,
        max_sequence_length: int = 300,
        instruction: list[str] | None = None,
        components: str | None = None,
        **loading: Any,
    ) -> None:
        if components is not None:
            importlib.import_module(components)
        super().__init__(model, **loading)
        self.guidance_scale, self.max_sequence_length = guidance_scale, max_sequence_length
        self.instruction = instruction
        self.schedule = TrigFlow()

    @classmethod
    def pipeline_call(cls, steps: int) -> dict[str, Any]:
        """Arguments of the pipeline's call that give this class's images.

        The pipeline's default ``intermediate_timesteps`` is for two steps; other numbers of steps need None.

        Args:
            steps: number of network evaluations.
        """
        return super().pipeline_call(steps) | ({} if steps == 2 else {"intermediate_timesteps": None})

    @classmethod
    def check_call(cls, arguments: Mapping[str, Any]) -> None:
        """Raise ``ValueError`` for ``intermediate_timesteps``, a default of the pipeline, unless steps are 2."""
        steps, middle = arguments["num_inference_steps"], arguments["intermediate_timesteps"]
        if middle is not None and steps != 2:
            raise ValueError(
                f"SanaSprintPipeline: intermediate_timesteps={middle} is for num_inference_steps=2, this call has "
                f"{steps}; pass intermediate_timesteps=None"
            )

    def _encode(self, prompts: list[str]) -> Conditioning:
        self.truncation.check(self.pipeline.tokenizer, prompts, self.max_sequence_length)
        encoded = self.pipeline.encode_prompt(
            prompts,
            device=self._device,
            max_sequence_length=self.max_sequence_length,
            complex_human_instruction=self.instruction,
        )
        return self.conditioning_of(encoded)

    def conditioning_of(self, encoded: Sequence[Any]) -> Conditioning:
        """Text features and their mask."""
        return Conditioning(encoded[0], encoded[1])

    def _forward_network(
        self, network: nn.Module, state: Tensor, conditioning: Conditioning, timestep: float
    ) -> Tensor:
        batch = len(state)
        dtype = self.network.dtype
        guidance = self.guidance_scale * self.network.config.guidance_embeds_scale
        output: Tensor = network(
            state.to(dtype),
            encoder_hidden_states=conditioning.embeddings.to(dtype),
            encoder_attention_mask=conditioning.mask,
            guidance=torch.full((batch,), guidance, device=state.device, dtype=conditioning.embeddings.dtype),
            timestep=torch.full((batch,), timestep, device=state.device),
            return_dict=False,
        )[0]
        return output
