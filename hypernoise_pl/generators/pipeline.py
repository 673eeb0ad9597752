"""What every family does with its diffusers pipeline: load it, choose how it decodes, warn of prompts it cuts."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hypernoise_pl.pretrained import find_file, load_pretrained, load_with, quiet


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


class Loaded(str):
    """The name of a pipeline that is loaded already: given to a generator as its model, nothing is loaded.

    Args:
        pipeline: of diffusers.
    """

    pipeline: Any

    def __new__(cls, pipeline: Any) -> Loaded:
        """Its name is the folder or hub id that it came from."""
        name = super().__new__(cls, pipeline.name_or_path or type(pipeline).__name__)
        name.pipeline = pipeline
        return name


# which generator reads which pipeline
BACKENDS = {
    "DiTPipeline": "DiT",
    "FluxPipeline": "Flux",
    "PixArtAlphaPipeline": "PixArt",
    "PixArtSigmaPipeline": "PixArt",
    "QwenImagePipeline": "QwenImage",
    "SanaPipeline": "Sana",
    "SanaSprintPipeline": "SanaSprint",
    "StableDiffusion3Pipeline": "StableDiffusion3",
    "StableDiffusionPipeline": "SDTurbo",
    "StableDiffusionXLPipeline": "SDXLTurbo",
    "ZImagePipeline": "ZImage",
}


def load_pipeline(kind: str | tuple[str, ...], model: str, dtype: str, **options: Any) -> Any:
    """Load a diffusers pipeline in a given precision.

    Args:
        kind: name of its class, or the names of those it may be of.
        model: folder or hub id, or a pipeline that is ``Loaded``.
        dtype: precision.
        options: of ``from_pretrained``.

    Raises:
        FileNotFoundError: if a folder or a file of it is missing, or the hub does not give it.
        ValueError: if a file is damaged, the pipeline is of another class or the precision has no such name.
    """
    import diffusers

    if isinstance(model, Loaded):
        return model.pipeline
    precision = _precision(dtype)
    asked = options.get("revision"), options.get("local_files_only", False)
    index = find_file(model, "model_index.json", "generator", *asked)
    found = load_with(lambda: json.loads(index.read_text())["_class_name"], model, "generator")
    kinds = (kind,) if isinstance(kind, str) else kind
    if found not in kinds:
        known = ", ".join(f"{name} ({generator})" for name, generator in BACKENDS.items())
        raise ValueError(f"generator {model}: a {found}, not a {' or '.join(kinds)}; pipelines and generators: {known}")
    with quiet():
        pipeline = getattr(diffusers, found)  # whose import tells of what is not installed
    return load_pretrained(pipeline, model, "generator", **options, **precision)


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


def image_size(height: int | None, width: int | None, side: int, multiple: int) -> tuple[int, int]:
    """Height and width in pixels, a side's length where none is asked for.

    Raises:
        ValueError: if one is not a positive multiple of what the network needs.
    """
    height, width = side if height is None else height, side if width is None else width
    if min(height, width) < 1 or height % multiple or width % multiple:
        raise ValueError(f"height and width must be multiples of {multiple}, got {height} x {width}")
    return height, width


def decode_images(decoder: Any, latents: Tensor) -> Tensor:
    """Images [B, 3, H, W] in [0, 1] of the clean latents [B, *Z] of an ``AutoencoderKL`` or ``AutoencoderTiny``."""
    config = decoder.config
    mean, deviation = config.get("latents_mean"), config.get("latents_std")
    if mean is not None and deviation is not None:
        shift, scale = (latents.new_tensor(values).view(1, -1, 1, 1) for values in (mean, deviation))
        latents = latents * scale / config.scaling_factor + shift
    else:
        latents = latents / config.scaling_factor + (config.get("shift_factor") or 0.0)
    images = decoder.decode(latents.to(decoder.dtype), return_dict=False)[0]
    return (at_least_single(images) / 2 + 0.5).clamp(0, 1)


def at_least_single(tensor: Tensor) -> Tensor:
    """Half precision is for the networks; what happens between them is in float32, as in the pipelines."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def warn_of_cut(tokenizer: Any, prompts: Sequence[str], length: int) -> None:
    """Warn of every prompt with more tokens than the generator reads, and of the words that are not read."""
    for prompt, ids in zip(prompts, tokenizer(list(prompts)).input_ids, strict=True):
        if len(ids) > length:
            ends = ids[-1] == tokenizer.eos_token_id  # an end token keeps its place, so one word less is read
            cut = tokenizer.decode(ids[length - ends :], skip_special_tokens=True)
            warnings.warn(
                f"prompt {prompt!r} has {len(ids)} tokens, the generator reads {length}; not read: {cut.strip()!r}",
                stacklevel=4,
            )


def _precision(dtype: str) -> dict[str, Any]:
    if dtype not in ("float32", "bfloat16", "float16"):
        raise ValueError(f"dtype must be float32, bfloat16 or float16, got {dtype!r}")
    return {} if dtype == "float32" else {"torch_dtype": getattr(torch, dtype)}  # float32 is loaded unasked
