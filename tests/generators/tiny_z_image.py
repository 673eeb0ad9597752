"""A Z-Image pipeline of the real classes, tiny and random, saved as the real one is."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from hypernoise_pl.shapes.caption import vocabulary
from tests.generators.tiny_pixart import tiny_vae

CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def qwen_tokenizer(more: Iterable[str] = (), special: Iterable[str] = ("<|im_start|>", "<|im_end|>")) -> Any:
    """Whole words for what captions say (and more), bytes for the rest."""
    from transformers import Qwen2Tokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    words = ["\u0120" + word for word in [*vocabulary(), *more]]
    merges = list(dict.fromkeys((word[:end], word[end]) for word in words for end in range(1, len(word))))
    tokens = dict.fromkeys([*letters, *(left + right for left, right in merges)])
    special = list(special)
    vocab = {token: number for number, token in enumerate(["<|endoftext|>", *special, *tokens])}
    tokenizer = Qwen2Tokenizer(vocab=vocab, merges=merges, additional_special_tokens=special)
    tokenizer.chat_template = CHAT
    return tokenizer


def save_z_image(folder: Path) -> Path:
    from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
    from transformers import Qwen3Config, Qwen3Model

    torch.manual_seed(0)
    tokenizer = qwen_tokenizer()
    text = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[4, 6, 6],
        axes_lens=[128, 32, 32],
    )
    with torch.no_grad():
        for token in (transformer.x_pad_token, transformer.cap_pad_token):
            token.normal_(std=0.1)
    ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=tiny_vae(scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=Qwen3Model(text),
        tokenizer=tokenizer,
        transformer=transformer,
    ).save_pretrained(folder)
    return folder
