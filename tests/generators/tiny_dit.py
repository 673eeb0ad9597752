"""A DiT pipeline of the real classes, tiny and random, saved as the real one is."""

import json
from pathlib import Path

import torch

from tests.generators.tiny_pixart import tiny_vae

LABELS = {0: "tench, Tinca tinca", 1: "goldfish, Carassius auratus", 2: "great white shark, white shark"}


def save_dit(folder: Path, scheduler: str = "DDIMScheduler") -> Path:
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
    walk = getattr(diffusers, scheduler)(beta_start=0.0001, beta_end=0.02, beta_schedule="linear", **options)
    diffusers.DiTPipeline(transformer, tiny_vae(), walk).save_pretrained(folder)
    index = folder / "model_index.json"  # where the real folder has its class names; save_pretrained leaves them out
    index.write_text(json.dumps({**json.loads(index.read_text()), "id2label": LABELS}))
    return folder
