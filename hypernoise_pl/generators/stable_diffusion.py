"""SDTurbo: SD-Turbo, and Stable Diffusion 1 or 2 with a LoRA that distils it to few steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.unet import UNetGenerator
from hypernoise_pl.types import Conditioning


class SDTurbo(UNetGenerator):
    """A Stable Diffusion pipeline (diffusers ``StableDiffusionPipeline``) for few steps without guidance.

    Its images equal the pipeline's own with ``guidance_scale=0``. The safety checker is not loaded. Models and LoRAs:

    =======================================================  =======
    model or LoRA                                            sampler
    =======================================================  =======
    stabilityai/sd-turbo                                     euler
    latent-consistency/lcm-lora-sdv1-5                       lcm
    ByteDance/Hyper-SD, Hyper-SD15-1step-lora.safetensors    tcd
    =======================================================  =======

    Source: Sauer et al. 2023 (arXiv 2311.17042); diffusers' pipeline for the constants.
    """

    pipelines = ("StableDiffusionPipeline",)
    replaced_components: Mapping[str, Any] = {"safety_checker": None}

    def _encode(self, prompts: list[str]) -> Conditioning:
        tokenizer = self.pipeline.tokenizer
        self.truncation.check(tokenizer, prompts, tokenizer.model_max_length)
        return self.conditioning_of(self.pipeline.encode_prompt(prompts, self._device, 1, False))

    def _forward_network(
        self, network: nn.Module, state: Tensor, conditioning: Conditioning, timestep: float
    ) -> Tensor:
        dtype = self.network.dtype
        output: Tensor = network(
            state.to(dtype),
            torch.full((len(state),), timestep, device=state.device),
            encoder_hidden_states=conditioning.embeddings.to(dtype),
            return_dict=False,
        )[0]
        return output
