"""What every family does with its diffusers pipeline: load it, choose how it decodes, warn of prompts it cuts."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hypernoise_pl.pretrained import load_pretrained


@dataclass(frozen=True)
class DecoderOptions:
    """How latents become images.

    Args:
        tiny: folder or hub id of an ``AutoencoderTiny`` (TAESD) to decode with in the place of the pipeline's own
            decoder: a few per cent of its time and memory, for training; None for the pipeline's own.
        slicing: decode one image of a batch at a time, to save memory.
        tiling: decode large images in overlapping tiles, to save more.
    """

    tiny: str | None = None
    slicing: bool = False
    tiling: bool = False


def load_pipeline(kind: Any, model: str, dtype: str, **options: Any) -> Any:
    """Load a diffusers pipeline in a given precision.

    Raises:
        FileNotFoundError: if a folder or a file of it is missing.
        ValueError: if a file is damaged or the precision has no such name.
    """
    return load_pretrained(kind, model, "generator", **options, **_precision(dtype))


def decoder_of(pipeline: Any, options: DecoderOptions, dtype: str) -> Any:
    """The decoder that a pipeline is to use; its own is replaced inside it where another is asked for.

    Raises:
        FileNotFoundError: if the folder of a tiny decoder or a file of it is missing.
        ValueError: if a file of it is damaged.
    """
    if options.tiny is not None:
        from diffusers import AutoencoderTiny

        pipeline.vae = load_pretrained(AutoencoderTiny, options.tiny, "decoder", **_precision(dtype))
    if options.slicing:
        pipeline.vae.enable_slicing()
    if options.tiling:
        pipeline.vae.enable_tiling()
    return pipeline.vae


def decoded(decoder: Any, latents: Tensor) -> Tensor:
    """Images [B, 3, H, W] in [0, 1] of clean latents, by an autoencoder of diffusers."""
    latents = latents.to(decoder.dtype) / decoder.config.scaling_factor + (decoder.config.get("shift_factor") or 0.0)
    return (at_least_single(decoder.decode(latents, return_dict=False)[0]) / 2 + 0.5).clamp(0, 1)


def at_least_single(tensor: Tensor) -> Tensor:
    """Half precision is for the networks; what happens between them is in float32, as in the pipelines."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def warn_of_cut(tokenizer: Any, prompts: Sequence[str], length: int, closing: int = 0) -> None:
    """Warn of every prompt with more tokens than the generator reads, and of the words that are not read.

    Args:
        tokenizer: of the pipeline.
        prompts: texts, as the pipeline gives them to it.
        length: tokens that are read.
        closing: of these, how many the tokenizer puts after a text that was cut.
    """
    for prompt, ids in zip(prompts, tokenizer(list(prompts)).input_ids, strict=True):
        if len(ids) > length:
            cut = tokenizer.decode(ids[length - closing :], skip_special_tokens=True)
            warnings.warn(
                f"prompt {prompt!r} has {len(ids)} tokens, the generator reads {length}; not read: {cut.strip()!r}",
                stacklevel=4,
            )


def _precision(dtype: str) -> dict[str, Any]:
    if dtype not in ("float32", "bfloat16", "float16"):
        raise ValueError(f"dtype must be float32, bfloat16 or float16, got {dtype!r}")
    return {} if dtype == "float32" else {"torch_dtype": getattr(torch, dtype)}  # float32 is loaded unasked
