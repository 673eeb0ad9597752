"""Tiny decoders, tokenizers and text encoders of the real classes, with random weights."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from hypernoise_pl.shapes.caption import vocabulary
from hypernoise_pl.shapes.tokenizer import clip_tokenizer, gemma_tokenizer

TOKENS = 20  # that CLIP reads here
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def decoder(scale: float, shift: float | None = None) -> Any:
    """Of four channels; it doubles sides once."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
        sample_size=16,  # tiles of 8 latents
        scaling_factor=scale,
        shift_factor=shift,
    )


def clip(width: int, projected: bool) -> tuple[Any, Any]:
    """Tokenizer and text encoder."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    tokenizer = clip_tokenizer()
    tokenizer.model_max_length = TOKENS
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return tokenizer, (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def t5(width: int) -> tuple[Any, Any]:
    """Tokenizer and text encoder."""
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    words = ["\u2581" + word for word in vocabulary()]
    letters = ["\u2581", *(chr(code) for code in range(33, 127))]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0)]
    pieces += [(word, -1.0) for word in words] + [(letter, -10.0) for letter in letters]
    tokenizer: Any = T5Tokenizer(vocab=pieces, extra_ids=0)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=2, is_encoder_decoder=False
    )
    return tokenizer, T5EncoderModel(config)


def gemma() -> tuple[Any, Any]:
    """Tokenizer and text encoder."""
    from transformers import Gemma2Config, Gemma2Model

    tokenizer = gemma_tokenizer()
    text = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    return tokenizer, Gemma2Model(text)


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


def save_tiny_decoder(folder: Path, compression: int) -> None:
    """An ``AutoencoderTiny`` for four channels of latents."""
    from diffusers import AutoencoderTiny

    torch.manual_seed(1)
    levels = compression.bit_length()
    one = (1,) * levels
    AutoencoderTiny(
        encoder_block_out_channels=(8,) * levels,
        decoder_block_out_channels=(8,) * levels,
        num_encoder_blocks=one,
        num_decoder_blocks=one,
    ).save_pretrained(folder)
