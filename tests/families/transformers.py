"""Tiny PixArt and DiT pipelines of the real classes with random weights, saved as the real ones are."""

import json
from pathlib import Path
from typing import Any

import torch

from tests.families.parts import decoder, t5

LABELS = {0: "tench, Tinca tinca", 1: "goldfish, Carassius auratus", 2: "great white shark, white shark"}


def schedulers(kind: str) -> Any:
    """The schedulers of the published models."""
    from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, LCMScheduler

    betas = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}
    if kind == "dpm":
        return DPMSolverMultistepScheduler(**betas)
    return DDPMScheduler(**betas, clip_sample=False) if kind == "ddpm" else LCMScheduler(**betas)


def build_pixart(folder: Path, sigma: bool = True, scheduler: str = "dpm", large: bool = False) -> None:
    from diffusers import PixArtAlphaPipeline, PixArtSigmaPipeline, PixArtTransformer2DModel

    torch.manual_seed(0)
    tokenizer, encoder = t5(16)
    transformer = PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        cross_attention_dim=24,
        sample_size=128 if large else 8,  # at 128 alpha's pipeline tells the network its size
        caption_channels=16,
        use_additional_conditions=large and not sigma,
        interpolation_scale=1,
    )
    kind = PixArtSigmaPipeline if sigma else PixArtAlphaPipeline
    pipeline = kind(
        tokenizer=tokenizer,
        text_encoder=encoder,
        vae=decoder(0.18215),
        transformer=transformer,
        scheduler=schedulers(scheduler),
    )
    pipeline.save_pretrained(folder)


def build_pixart_alpha(folder: Path) -> None:
    build_pixart(folder, sigma=False, scheduler="lcm", large=True)


def build_dit(folder: Path, scheduler: str = "DDIMScheduler", spacing: str = "trailing") -> None:
    import diffusers

    torch.manual_seed(0)
    transformer = diffusers.DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        sample_size=8,
        num_embeds_ada_norm=1000,
    )
    options = {"clip_sample": False} if scheduler == "DDIMScheduler" else {}
    betas = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}
    sampler = getattr(diffusers, scheduler)(**betas, timestep_spacing=spacing, **options)
    diffusers.DiTPipeline(transformer, decoder(0.18215), sampler).save_pretrained(folder)
    index = folder / "model_index.json"  # where the real folder has its class names; save_pretrained leaves them out
    index.write_text(json.dumps({**json.loads(index.read_text()), "id2label": LABELS}))
