"""Distillation LoRAs of third parties, fused into a generator's weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypernoise_pl.checkpoints.loading import load_with
from hypernoise_pl.generators.loading import network_of


@dataclass(frozen=True)
class FusedLora:
    """A LoRA in a format that diffusers loads, as safetensors.

    Args:
        model: folder, file or hub id (``tianweiy/DMD2``).
        weight_name: file in the folder or repository (``dmd2_sdxl_4step_lora_fp16.safetensors``); None for the only
            one.
        scale: factor of the LoRA's weights; it was trained at 1.
    """

    model: str
    weight_name: str | None = None
    scale: float = 1.0


def fuse(pipeline: Any, lora: FusedLora, local_only: bool = False) -> str:
    """Fuse a LoRA into a pipeline's weights and unload it.

    Args:
        pipeline: diffusers pipeline; its weights are changed.
        lora: LoRA to fuse.
        local_only: True never contacts the hub.

    Returns:
        Suffix of the generator's name: `` + SCALE x LORA``.

    Raises:
        FileNotFoundError: if there is no such folder or file.
        ValueError: if the file is damaged, or is not a LoRA of this network.
    """

    def load() -> None:
        pipeline.load_lora_weights(
            lora.model, weight_name=name, local_files_only=local_only, adapter_name="distilled", use_safetensors=True
        )

    network = network_of(pipeline)
    name = lora.weight_name
    if name is None and Path(lora.model).is_dir():
        files = sorted(file.name for file in Path(lora.model).glob("*.safetensors"))
        if len(files) != 1:
            raise ValueError(f"LoRA {lora.model}: {len(files)} files in the folder; name one with weight_name")
        name = files[0]
    try:
        load_with(load, lora.model, "LoRA")
    except (RuntimeError, ValueError, KeyError) as error:
        raise ValueError(f"LoRA {lora.model}: not read: {str(error).splitlines()[0]}") from error
    except IndexError as error:  # diffusers' error for a file without a known key
        raise ValueError(f"LoRA {lora.model}: it has no layer of this network") from error
    if not any(type(layer).__module__.startswith("peft.") for layer in network.modules()):
        raise ValueError(f"LoRA {lora.model}: it has no layer of this network")
    pipeline.fuse_lora(lora_scale=lora.scale)
    pipeline.unload_lora_weights()
    file = "" if lora.weight_name is None else f"/{lora.weight_name}"
    return f" + {lora.scale:g} x {lora.model}{file}"
