"""Loading diffusers pipelines: which generator reads which, in what precision, with what decoder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from hypernoise_pl.checkpoints.loading import find_file, load_pretrained, load_with, quiet


@dataclass(frozen=True)
class DecoderOptions:
    """How latents become images.

    Args:
        tiny: folder or hub id of an ``AutoencoderTiny`` to decode with in the place of the pipeline's own decoder: a
            few per cent of its time and memory, for training (``madebyollin/taesd``, ``taesdxl``, ``taesd3``,
            ``taef1``); None for the pipeline's own.
        slicing: decode one image of a batch at a time, to save memory.
        tiling: decode large images in overlapping tiles, to save more.
    """

    neutral: ClassVar[tuple[str, ...]] = ("slicing",)

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


def load_pipeline(kinds: tuple[str, ...], model: str, dtype: str, **options: Any) -> Any:
    """Load a diffusers pipeline in a given precision.

    Args:
        kinds: names of the classes it may be of.
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
    options |= precision(dtype)
    asked = options.get("revision"), options.get("local_files_only", False)
    index = find_file(model, "model_index.json", "generator", *asked)
    found = load_with(lambda: json.loads(index.read_text())["_class_name"], model, "generator")
    if found not in kinds:
        known = ", ".join(f"{name} ({generator})" for name, generator in BACKENDS.items())
        raise ValueError(f"generator {model}: a {found}, not a {' or '.join(kinds)}; pipelines and generators: {known}")
    with quiet():
        pipeline = getattr(diffusers, found)  # whose import tells of what is not installed
    return load_pretrained(pipeline, model, "generator", **options)


def decoder_of(pipeline: Any, options: DecoderOptions, dtype: str) -> Any:
    """The decoder that a pipeline is to use; its own is replaced inside it where another is asked for.

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
    """Options of ``from_pretrained`` for a precision.

    Raises:
        ValueError: if it has no such name.
    """
    if dtype not in ("float32", "bfloat16", "float16"):
        raise ValueError(f"dtype must be float32, bfloat16 or float16, got {dtype!r}")
    return {} if dtype == "float32" else {"torch_dtype": getattr(torch, dtype)}  # float32 is loaded unasked


def network_of(pipe: Any) -> Any:
    """The network that is evaluated once a step, without ``torch.compile``'s wrapper."""
    network = getattr(pipe, network_name(pipe))
    return getattr(network, "_orig_mod", network)


def network_name(pipe: Any) -> str:
    """The name of the pipeline's component that is evaluated once a step."""
    return "transformer" if "transformer" in pipe.components else "unet"
