"""Loading diffusers pipelines, and the table of the generators that read them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from hypernoise_pl.checkpoints.loading import find_file, load_pretrained, load_with, quiet


@dataclass(frozen=True)
class DecoderOptions:
    """Decoder from latents to images.

    Args:
        tiny: folder or hub id of an ``AutoencoderTiny`` in the place of the pipeline's own decoder, for training at a
            few per cent of its time and memory (``madebyollin/taesd``, ``taesdxl``, ``taesd3``, ``taef1``); None for
            the pipeline's own.
        slicing: True decodes one image of a batch at a time, to save memory.
        tiling: True decodes large images in overlapping tiles, to save more.
    """

    neutral: ClassVar[tuple[str, ...]] = ("slicing",)

    tiny: str | None = None
    slicing: bool = False
    tiling: bool = False


# name of a diffusers pipeline -> name of the generator class that reads it
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


def load_pipeline(classes: tuple[str, ...], model: str, dtype: str, **options: Any) -> Any:
    """Load a diffusers pipeline in a given precision.

    Args:
        classes: names of the diffusers classes that are accepted.
        model: folder or hub id.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        options: arguments of ``from_pretrained``.

    Raises:
        FileNotFoundError: if a folder or a file of it is missing, or the hub does not provide it.
        ValueError: if a file is damaged, the pipeline is of another class or the precision has no such name.
    """
    import diffusers

    options |= precision(dtype)
    source = options.get("revision"), options.get("local_files_only", False)
    index = find_file(model, "model_index.json", "generator", *source)
    name = load_with(lambda: json.loads(index.read_text())["_class_name"], model, "generator")
    if name not in classes:
        known = ", ".join(f"{pipeline} ({generator})" for pipeline, generator in BACKENDS.items())
        raise ValueError(
            f"generator {model}: pipeline class {name}, expected {' or '.join(classes)}; pipelines and generators: "
            f"{known}"
        )
    with quiet():
        pipeline = getattr(diffusers, name)  # importing it warns about optional packages
    return load_pretrained(pipeline, model, "generator", **options)


def decoder_of(pipeline: Any, options: DecoderOptions, dtype: str) -> Any:
    """Set up a pipeline's decoder, a tiny one in its place if ``options`` name one.

    Args:
        pipeline: diffusers pipeline; its ``vae`` may be replaced.
        options: decoder options.
        dtype: dtype of a tiny decoder.

    Returns:
        The pipeline's ``vae``.

    Raises:
        FileNotFoundError: if the folder of a tiny decoder or a file of it is missing.
        ValueError: if a file of it is damaged.
    """
    if options.tiny is not None:
        from diffusers import AutoencoderTiny

        pipeline.vae = load_pretrained(AutoencoderTiny, options.tiny, "decoder", **precision(dtype))
    if options.slicing:
        pipeline.vae.enable_slicing()
    if options.tiling:
        pipeline.vae.enable_tiling()
    return pipeline.vae


def precision(dtype: str) -> dict[str, Any]:
    """The ``torch_dtype`` argument of ``from_pretrained``; none for float32, its default.

    Args:
        dtype: ``float32``, ``bfloat16`` or ``float16``.

    Raises:
        ValueError: if the precision has no such name.
    """
    if dtype not in ("float32", "bfloat16", "float16"):
        raise ValueError(f"dtype must be float32, bfloat16 or float16, got {dtype!r}")
    return {} if dtype == "float32" else {"torch_dtype": getattr(torch, dtype)}


def network_of(pipe: Any) -> Any:
    """The pipeline's network that is evaluated once a step, without ``torch.compile``'s wrapper."""
    network = getattr(pipe, network_name(pipe))
    return getattr(network, "_orig_mod", network)


def network_name(pipe: Any) -> str:
    """The name of the pipeline's network among its components."""
    return "transformer" if "transformer" in pipe.components else "unet"
