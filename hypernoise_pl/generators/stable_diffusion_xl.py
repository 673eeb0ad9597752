"""SDXL-Turbo, and SDXL with a LoRA that has distilled it to few steps (LCM, Hyper-SD, DMD2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.fused_lora import FusedLora, fuse
from hypernoise_pl.generators.loading import Loaded
from hypernoise_pl.generators.pipeline import PipelineGenerator
from hypernoise_pl.generators.schedules.diffusion import Diffusion, Sampler, resample
from hypernoise_pl.types import Conditioning


class SDXLTurbo(PipelineGenerator):
    """A Stable Diffusion XL pipeline (diffusers ``StableDiffusionXLPipeline``) for few steps without guidance.

    Its images equal the pipeline's own with ``guidance_scale=0``. What the LoRAs want:

    ==========================================================  ===============  ====================  ====
    LoRA                                                        sampler          timesteps             eta
    ==========================================================  ===============  ====================  ====
    none (SDXL-Turbo)                                           euler_ancestral
    latent-consistency/lcm-lora-sdxl                            lcm
    tianweiy/DMD2, dmd2_sdxl_4step_lora_fp16.safetensors        lcm              [999, 749, 499, 249]
    ByteDance/Hyper-SD, Hyper-SDXL-1step-lora.safetensors       tcd                                    1.0
    ByteDance/Hyper-SD, Hyper-SDXL-2steps-lora.safetensors ...  ddim
    ==========================================================  ===============  ====================  ====

    Args:
        model: folder or hub id (``stabilityai/sdxl-turbo``, or SDXL's base for a LoRA).
        sampler: as in the table; None for the folder's own (``euler_ancestral`` for SDXL-Turbo).
        timesteps: falling times in 1 to 999, for as many steps as there are; at other numbers of steps they fall evenly
            from the first of them. The hypernetwork sees the first.
        eta: share of fresh noise in ``tcd``; less gives more detail.
        lora: fused into the frozen weights first.
        loading: what every generator takes: ``height``, ``width`` (multiples of 8), ``dtype``, ``revision``,
            ``local_only``, ``decoding``.

    Source: Sauer et al. 2023 (arXiv 2311.17042); diffusers' pipeline for the constants; the LoRAs' own model cards
        for their samplers.
    """

    pipelines = ("StableDiffusionXLPipeline",)
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
        super().__init__(model, **loading)
        if lora is not None:
            self.name += fuse(self.pipeline, lora, self.local_only)
        self.schedule = Diffusion(resample(self.pipeline, sampler), timesteps, eta)
        self.sampler, self.timesteps = self.schedule.sampler, self.schedule.timesteps
        borrowed = isinstance(model, Loaded)  # a decoder of somebody else's stays as it is
        if not borrowed and self.decoder.dtype == torch.float16 and self.decoder.config.force_upcast:
            self.decoder.float()  # the original one overflows in half precision

    def _encode(self, prompts: list[str]) -> Conditioning:
        tokenizer = self.pipeline.tokenizer
        self.truncation.check(tokenizer, prompts, tokenizer.model_max_length)
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
        sizes = torch.tensor([self.height, self.width, 0, 0, self.height, self.width], device=state.device, dtype=dtype)
        output: Tensor = network(
            state.to(dtype),
            torch.full((len(state),), time, device=state.device),
            encoder_hidden_states=conditioning.embeddings.to(dtype),
            added_cond_kwargs={"text_embeds": pooled.to(dtype), "time_ids": sizes.expand(len(state), -1)},
            return_dict=False,
        )[0]
        return output
