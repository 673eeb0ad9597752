"""Adapter folders with PEFT's files and ours, written atomically."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from hypernoise_pl.lora.view import LoraOptions
from hypernoise_pl.system.files import write_tensors

WEIGHTS, PEFT_CONFIG, OWN_CONFIG = "adapter_model.safetensors", "adapter_config.json", "hypernoise.json"
PREFIX = "base_model.model."  # prefix of all keys in a PEFT file


def write_folder(
    folder: Path,
    state: dict[str, Any],
    base: str,
    options: LoraOptions,
    settings: dict[str, Any],
    description: dict[str, Any] | None = None,
    pickled: bool = False,
) -> Path:
    """Write an adapter in PEFT's format; an older folder is replaced only when the new one is complete.

    Args:
        folder: adapter folder.
        state: LoRA weights, name without prefix -> weight.
        base: name of the generator.
        options: LoRA rank and scale.
        settings: further arguments of ``LoraConfig``.
        description: content of ``hypernoise.json``; None to leave the file out.
        pickled: whether to write ``adapter_model.bin`` instead of safetensors.

    Raises:
        OSError: if the folder cannot be written or holds other files; an older adapter stays unchanged.
    """
    from peft import LoraConfig
    from safetensors import SafetensorError

    scale: Any = {"r": options.rank, "lora_alpha": options.alpha}  # peft's type is int; it accepts floats
    config = LoraConfig(base_model_name_or_path=base, inference_mode=True, **scale, **settings)
    config.target_modules = sorted(
        {name.rsplit(".lora_", 1)[0] for name in state}
    )  # peft turns it into a set, which has no order
    partial = folder.with_name(f".{folder.name}-{os.getpid()}")
    try:
        _check_replaceable(folder)
        partial.mkdir(parents=True)
        weights = {PREFIX + name: p.detach().cpu().contiguous() for name, p in state.items()}
        if pickled:
            torch.save(weights, partial / "adapter_model.bin")
        else:
            write_tensors(partial / WEIGHTS, weights, {"format": "pt"})
        config.save_pretrained(str(partial))
        if description is not None:
            (partial / OWN_CONFIG).write_text(json.dumps(description, indent=1) + "\n")
        replace_folder(partial, folder)
    except (OSError, SafetensorError) as error:
        raise OSError(f"adapter {folder}: not written; an older adapter is unchanged: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def replace_folder(partial: Path, folder: Path) -> None:
    """Move a complete new folder to a path, in place of an older one; if that fails, restore the older one."""
    old = partial.with_name(partial.name + "-old")
    if folder.exists():
        os.replace(folder, old)
    try:
        os.replace(partial, folder)
    except OSError:
        if old.exists():
            os.replace(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def check_folder(folder: Path) -> None:
    """Raise ``NotADirectoryError`` if the path of an adapter folder is a file."""
    if folder.exists() and not folder.is_dir():
        inside = folder.name in (OWN_CONFIG, PEFT_CONFIG, WEIGHTS)
        hint = f"give its folder: {folder.parent}" if inside else "give the folder that fit wrote, RUN/adapter"
        raise NotADirectoryError(f"adapter {folder}: a file; {hint}")


def _check_replaceable(folder: Path) -> None:
    """Raise ``FileExistsError`` if a folder holds other files than an adapter, which would be lost."""
    if folder.is_dir() and not (folder / PEFT_CONFIG).is_file() and (other := next(folder.iterdir(), None)):
        raise FileExistsError(f"the folder holds {other.name!r} and no adapter; give another folder")
