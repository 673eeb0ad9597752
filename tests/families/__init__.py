"""Every family of generators in miniature."""

from typing import Any

import torch
from torch import Tensor

from hypernoise_pl.generators.dit import DiT
from hypernoise_pl.generators.flux import Flux
from hypernoise_pl.generators.pixart import PixArt
from hypernoise_pl.generators.qwen_image import QwenImage
from hypernoise_pl.generators.sana import Sana
from hypernoise_pl.generators.sana_sprint import SanaSprint
from hypernoise_pl.generators.stable_diffusion import SDTurbo
from hypernoise_pl.generators.stable_diffusion_3 import StableDiffusion3
from hypernoise_pl.generators.stable_diffusion_xl import SDXLTurbo
from hypernoise_pl.generators.z_image import ZImage
from tests.families.family import SEED, Family
from tests.families.flows import (
    build_flux,
    build_flux_dev,
    build_qwen_image,
    build_sana,
    build_sana_sprint,
    build_stable_diffusion_3,
    build_z_image,
)
from tests.families.parts import TOKENS
from tests.families.transformers import build_dit, build_pixart, build_pixart_alpha
from tests.families.unets import build_stable_diffusion, build_stable_diffusion_xl


def flux_tokens(noise: Tensor) -> dict[str, Any]:
    from diffusers import FluxPipeline

    return {"latents": FluxPipeline._pack_latents(noise, *noise.shape)}


def qwen_tokens(noise: Tensor) -> dict[str, Any]:
    from diffusers import QwenImagePipeline

    return {"latents": QwenImagePipeline._pack_latents(noise, *noise.shape)}


def drawn_by_itself(noise: Tensor) -> dict[str, Any]:
    return {"generator": torch.Generator().manual_seed(SEED)}  # the pipeline takes no noise


def by_class(labels: list[Any], count: int) -> dict[str, Any]:
    return {"class_labels": [label for label in labels for _ in range(count)]}


_READ: dict[str, Any] = {"max_sequence_length": TOKENS}
_PLAIN = {"clean_caption": False, "use_resolution_binning": False}
_TRUE: dict[str, Any] = {"true_cfg_scale": 3.0}
_POOLED = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
_MASKED = ("prompt_embeds", "prompt_attention_mask", "negative_prompt_embeds", "negative_prompt_attention_mask")
_PAIR = ("prompt_embeds", "negative_prompt_embeds")
_FLUX: dict[str, Any] = {
    "encoded": ("prompt_embeds", "pooled_prompt_embeds"),
    "repeats": False,
    "guidance": _TRUE,
}
_SANA: dict[str, Any] = {"size": (32, 32), "wide": (32, 64), "tolerance": 1e-2}  # attention in float32 always
_CLASSES: dict[str, Any] = {
    "start": drawn_by_itself,
    "prompts": ["goldfish", "2"],
    "asks": "class_labels",
    "given": [1, 2],
    "repeat": by_class,
    "size": None,
    "wide": None,
}

FAMILIES = {
    "dit": Family(DiT, build_dit, {"guidance_scale": 1.0}, {"guidance_scale": 1.0}, **_CLASSES),
    "dit-guided": Family(DiT, build_dit, **_CLASSES),
    "flux-dev": Family(Flux, build_flux_dev, _READ, _READ | {"guidance_scale": 3.5}, flux_tokens, **_FLUX),
    "flux-schnell": Family(Flux, build_flux, _READ, _READ, flux_tokens, **_FLUX),
    "pixart-alpha": Family(
        PixArt, build_pixart_alpha, _READ, _READ | _PLAIN | {"guidance_scale": 1.0}, encoded=_MASKED
    ),
    "pixart-sigma": Family(PixArt, build_pixart, _READ, _READ | _PLAIN, encoded=_MASKED),
    "qwen-image": Family(  # the tiny tokenizer spells the chat around a prompt, which the real one has in 34 tokens
        QwenImage,
        build_qwen_image,
        {"max_sequence_length": 200},
        {"max_sequence_length": 200, "true_cfg_scale": 1.0},
        qwen_tokens,
        encoded=("prompt_embeds", "prompt_embeds_mask"),
        guidance=_TRUE,
        tiny=False,
        blind=False,
        tolerance=1e-2,  # its rotary embedding computes in float32 whatever it is given
    ),
    "sana": Family(
        Sana, build_sana, _READ, _READ | _PLAIN | {"complex_human_instruction": None}, encoded=_MASKED, **_SANA
    ),
    "sana-sprint": Family(
        SanaSprint,
        build_sana_sprint,
        _READ,
        _READ | _PLAIN | {"complex_human_instruction": None},
        encoded=_MASKED[:2],
        guidance={},
        **_SANA,
    ),
    "sd-turbo": Family(SDTurbo, build_stable_diffusion, encoded=_PAIR),
    "sd-3-turbo": Family(StableDiffusion3, build_stable_diffusion_3, _READ, _READ, encoded=_POOLED, repeats=False),
    "sdxl-turbo": Family(SDXLTurbo, build_stable_diffusion_xl, encoded=_POOLED),
    "z-image": Family(
        ZImage,
        build_z_image,
        {"max_sequence_length": 40},
        {"max_sequence_length": 40},
        encoded=_PAIR,
        blind=False,
        tolerance=1e-2,  # like Qwen-Image's
    ),
}
