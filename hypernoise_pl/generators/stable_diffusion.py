"""SD-Turbo, and any Stable Diffusion 1 or 2 that a LoRA has distilled to few steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.fused_lora import FusedLora, fuse
from hypernoise_pl.generators.pipeline import PipelineGenerator
from hypernoise_pl.generators.schedules.diffusion import Diffusion, Sampler, resample
from hypernoise_pl.types import Conditioning


class SDTurbo(PipelineGenerator):
    """A Stable Diffusion pipeline (diffusers ``StableDiffusionPipeline``) for few steps without guidance.

    Its images equal the pipeline's own with ``guidance_scale=0``. The safety checker is not loaded.

    Args:
        model: folder or hub id (``stabilityai/sd-turbo``).
        sampler: ``lcm`` with an LCM LoRA (``latent-consistency/lcm-lora-sdv1-5``), ``tcd`` with Hyper-SD's one-step
            LoRA (``ByteDance/Hyper-SD``, ``Hyper-SD15-1step-lora.safetensors``); None for the folder's own (``euler``
            for SD-Turbo).
        timesteps: falling times in 1 to 999, for as many steps as there are; at other numbers of steps they fall evenly
            from the first of them. The hypernetwork sees the first.
        eta: share of fresh noise in ``tcd``; Hyper-SD has 1, less gives more detail.
        lora: fused into the frozen weights first.
        loading: what every generator takes: ``height``, ``width`` (multiples of 8), ``dtype``, ``revision``,
            ``local_only``, ``decoding``.

    Source: Sauer et al. 2023 (arXiv 2311.17042); diffusers' pipeline for the constants.
    """

    pipelines = ("StableDiffusionPipeline",)
    call: ClassVar[dict[str, Any]] = {"guidance_scale": 0.0}
    options_seen: ClassVar[dict[str, str | None]] = {"sampler": None, "timesteps": None}
    last_layer = "conv_out"

    def __init__(
        self,
        model: str,
        sampler: Sampler | None = None,
        timesteps: Sequence[int] | None = None,
        eta: float = 1.0,
        lora: FusedLora | None = None,
        **loading: Any,
    ) -> None:
        super().__init__(model, _parts={"safety_checker": None}, **loading)
        if self.network.config.time_cond_proj_dim is not None:
            raise ValueError(f"generator {model}: a network that is told of guidance is not supported; use an LCM LoRA")
        if lora is not None:
            self.name += fuse(self.pipeline, lora, self.local_only)
        self.schedule = Diffusion(resample(self.pipeline, sampler), timesteps, eta)
        self.sampler, self.timesteps = self.schedule.sampler, self.schedule.timesteps

    def _encode(self, prompts: list[str]) -> Conditioning:
        tokenizer = self.pipeline.tokenizer
        self.truncation.check(tokenizer, prompts, tokenizer.model_max_length)
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
