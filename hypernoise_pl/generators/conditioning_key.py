"""Key of a generator's encoded prompts: equal keys mean equal conditioning."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch

from hypernoise_pl.generators.base import Generator

_SETTINGS = ("max_sequence_length", "instruction")  # options of a generator that change its conditioning
_PROBE = "A photo of 2 red foxes, left of a café's blue door."  # distinguishes tokenizers of one size
_IGNORED = ("_name_or_path", "transformers_version", "dtype", "torch_dtype")  # of a text encoder's configuration


@torch.no_grad()
def conditioning_key(generator: Generator) -> str:
    """16 hex digits of everything that changes the result of a generator's ``encode``.

    They cover the generator's name and revision, its settings, its tokenizers with vocabulary and special tokens, the
    template around a prompt, and the configuration and all weights of every text encoder. 10 GB of weights take about
    ten seconds; no weight file is read a second time.
    """
    digest = hashlib.blake2b(digest_size=8)
    settings = {name: getattr(generator, name, None) for name in _SETTINGS}
    pipeline = getattr(generator, "pipeline", None)
    components = getattr(pipeline, "components", {})
    tokenizers = {
        name: _describe_tokenizer(component)
        for name, component in sorted(components.items())
        if name.startswith("tokenizer") and component is not None
    }
    templates = [getattr(pipeline, name, None) for name in ("prompt_template_encode", "labels")]
    encoders = sorted(generator.text_encoders().items())
    configs = {name: _describe_encoder(encoder) for name, encoder in encoders}
    description = [generator.name, settings, tokenizers, templates, configs]
    digest.update(json.dumps(description, sort_keys=True, default=str).encode())
    for encoder_name, encoder in encoders:
        for name, tensor in sorted(encoder.state_dict().items()):
            digest.update(f"{encoder_name}.{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.flatten().cpu().view(torch.uint8).numpy())
    return digest.hexdigest()


def _describe_tokenizer(tokenizer: Any) -> list[Any]:
    """Everything that changes a tokenizer's result."""
    names = ("model_max_length", "padding_side", "truncation_side", "chat_template", "special_tokens_map")
    settings = [getattr(tokenizer, name, None) for name in names]
    return [len(tokenizer), *settings, tokenizer(_PROBE).input_ids, sorted(tokenizer.get_vocab().items())]


def _describe_encoder(encoder: Any) -> dict[str, Any] | None:
    """A text encoder's configuration without the origin of its file."""
    config = getattr(encoder, "config", None)
    if config is None:
        return None
    return {name: value for name, value in config.to_dict().items() if name not in _IGNORED}
