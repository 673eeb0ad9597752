"""PixArt pipelines of the real classes, tiny and random, saved as the real ones are."""

from pathlib import Path
from typing import Any

import torch

from hypernoise_pl.shapes.caption import vocabulary


def t5_tokenizer() -> Any:
    from transformers import T5Tokenizer

    letters = [chr(code) for code in range(33, 127)]
    pieces = ["<pad>", "</s>", "<unk>", "\u2581", *("\u2581" + word for word in vocabulary()), *letters]
    return T5Tokenizer(vocab=[(piece, -float(place)) for place, piece in enumerate(dict.fromkeys(pieces))], extra_ids=0)


def tiny_vae(latent_channels: int = 4, **options: Any) -> Any:
    """A decoder that doubles sides once."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=latent_channels,
        norm_num_groups=4,
        layers_per_block=1,
        sample_size=16,
        **options,
    )


def schedulers(kind: str) -> Any:
    """The schedulers of the published models."""
    from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, LCMScheduler

    betas = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}
    if kind == "dpm":
        return DPMSolverMultistepScheduler(**betas)
    return DDPMScheduler(**betas, clip_sample=False) if kind == "ddpm" else LCMScheduler(**betas)


def save_pixart(folder: Path, sigma: bool = False, scheduler: str = "dpm", large: bool = False) -> Path:
    from diffusers import PixArtAlphaPipeline, PixArtSigmaPipeline, PixArtTransformer2DModel
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(0)
    tokenizer = t5_tokenizer()
    text = T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
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
        text_encoder=T5EncoderModel(text),
        vae=tiny_vae(),
        transformer=transformer,
        scheduler=schedulers(scheduler),
    )
    pipeline.save_pretrained(folder)
    return folder
