"""SDXLTurbo: SDXL-Turbo, and SDXL with a LoRA that distils it to few steps (LCM, Hyper-SD, DMD2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.unet import UNetGenerator
from hypernoise_pl.types import Conditioning


class SDXLTurbo(UNetGenerator):
    """A Stable Diffusion XL pipeline (diffusers ``StableDiffusionXLPipeline``) for few steps without guidance.

    Its images equal the pipeline's own with ``guidance_scale=0``. Options of the LoRAs:

    ==========================================================  ===============  ====================  ====
    LoRA                                                        sampler          timesteps             eta
    ==========================================================  ===============  ====================  ====
    none (SDXL-Turbo)                                           euler_ancestral
    latent-consistency/lcm-lora-sdxl                            lcm
    tianweiy/DMD2, dmd2_sdxl_4step_lora_fp16.safetensors        lcm              [999, 749, 499, 249]
    ByteDance/Hyper-SD, Hyper-SDXL-1step-lora.safetensors       tcd                                    1.0
    ByteDance/Hyper-SD, Hyper-SDXL-2steps-lora.safetensors ...  ddim
    ==========================================================  ===============  ====================  ====

    Source: Sauer et al. 2023 (arXiv 2311.17042); diffusers' pipeline for the constants; the LoRAs' own model cards
        for their samplers.
    """

    pipelines = ("StableDiffusionXLPipeline",)
    upcasts_decoder = True

    def _encode(self, prompts: list[str]) -> Conditioning:
        tokenizer = self.pipeline.tokenizer
        self.truncation.check(tokenizer, prompts, tokenizer.model_max_length)
        return self.conditioning_of(
            self.pipeline.encode_prompt(prompts, device=self._device, do_classifier_free_guidance=False)
        )

    def conditioning_of(self, encoded: Sequence[Any]) -> Conditioning:
        """Features of every token, and pooled features; those of the negative prompt are left out."""
        return Conditioning(encoded[0], pooled=encoded[2])

    def _forward_network(
        self, network: nn.Module, state: Tensor, conditioning: Conditioning, timestep: float
    ) -> Tensor:
        dtype, pooled = self.network.dtype, conditioning.pooled
        assert pooled is not None
        # original size, crop and target size, as in the pipeline's defaults
        sizes = torch.tensor([self.height, self.width, 0, 0, self.height, self.width], device=state.device, dtype=dtype)
        output: Tensor = network(
            state.to(dtype),
            torch.full((len(state),), timestep, device=state.device),
            encoder_hidden_states=conditioning.embeddings.to(dtype),
            added_cond_kwargs={"text_embeds": pooled.to(dtype), "time_ids": sizes.expand(len(state), -1)},
            return_dict=False,
        )[0]
        return output
