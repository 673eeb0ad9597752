"""Tiny Stable Diffusion pipelines of the real classes with random weights, saved as the real ones are."""

from pathlib import Path
from typing import Any

import torch

from tests.families.parts import clip, decoder

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
_UNET: dict[str, Any] = {
    "sample_size": 8,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "attention_head_dim": 4,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}


def build_stable_diffusion(folder: Path) -> None:
    from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline, UNet2DConditionModel

    torch.manual_seed(0)
    tokenizer, encoder = clip(16, projected=False)
    StableDiffusionPipeline(
        vae=decoder(0.18215),
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(**_UNET, cross_attention_dim=16),
        scheduler=EulerDiscreteScheduler(**BETAS, steps_offset=1, timestep_spacing="trailing"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def build_stable_diffusion_xl(folder: Path) -> None:
    from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel

    torch.manual_seed(0)
    (tokenizer, encoder), (tokenizer_2, encoder_2) = clip(16, projected=False), clip(16, projected=True)
    unet = UNet2DConditionModel(
        **_UNET,
        cross_attention_dim=32,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 16,
        use_linear_projection=True,
    )
    StableDiffusionXLPipeline(
        vae=decoder(0.13025),
        text_encoder=encoder,
        text_encoder_2=encoder_2,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        unet=unet,
        scheduler=EulerAncestralDiscreteScheduler(**BETAS, timestep_spacing="trailing"),
    ).save_pretrained(folder)
