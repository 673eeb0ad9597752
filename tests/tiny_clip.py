"""A tiny CLIP model of transformers' classes with random weights."""

from typing import Any

import torch

from hypernoise_pl.shapes.tokenizer import clip_tokenizer


def tiny_clip(length: int) -> tuple[Any, Any]:
    """A ``CLIPModel`` for images of 16 x 16 pixels and ``length`` text tokens, and its tokenizer."""
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    tokenizer = clip_tokenizer()
    text = {
        **sizes,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": length,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    vision = {**sizes, "image_size": 16, "patch_size": 4}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)), tokenizer
