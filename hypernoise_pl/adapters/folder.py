"""Adapter folders: PEFT's own files and ours, written whole or not at all."""

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
PREFIX = "base_model.model."  # of every key in a PEFT file


def write_folder(
    folder: Path,
    state: dict[str, Any],
    base: str,
    options: LoraOptions,
    settings: dict[str, Any],
    description: dict[str, Any] | None = None,
    pickled: bool = False,
) -> Path:
    """Write PEFT's files of an adapter; an older folder is replaced only once the new one is whole.

    Args:
        folder: to write.
        state: name -> weight, with no prefix.
        base: what the adapter is for.
        options: rank and scale.
        settings: of ``LoraConfig``, besides.
        description: of our own description; None for none.
        pickled: ``adapter_model.bin`` in the place of safetensors.

    Raises:
        OSError: if it cannot be written, or the folder holds something else; what was there before is still there.
    """
    from peft import LoraConfig
    from safetensors import SafetensorError

    scale: Any = {"r": options.rank, "lora_alpha": options.alpha}  # peft speaks of a whole alpha and takes any
    config = LoraConfig(base_model_name_or_path=base, inference_mode=True, **scale, **settings)
    config.target_modules = sorted({name.rsplit(".lora_", 1)[0] for name in state})  # as a set, in any order
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
        raise OSError(f"adapter {folder}: not written, what was there is unchanged: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def replace_folder(partial: Path, folder: Path) -> None:
    """Put a whole new folder where an older one may be; if that fails, put the older one back."""
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
    """Raise ``NotADirectoryError`` for a file where an adapter's folder is wanted."""
    if folder.exists() and not folder.is_dir():
        inside = folder.name in (OWN_CONFIG, PEFT_CONFIG, WEIGHTS)
        hint = f"give its folder: {folder.parent}" if inside else "give the folder that fit wrote, RUN/adapter"
        raise NotADirectoryError(f"adapter {folder}: a file; {hint}")


def _check_replaceable(folder: Path) -> None:
    """Raise ``FileExistsError`` for a folder of other files than an adapter's: they would be lost."""
    if folder.is_dir() and not (folder / PEFT_CONFIG).is_file() and (other := next(folder.iterdir(), None)):
        raise FileExistsError(f"the folder is no adapter's, it has {other.name!r} in it; give a folder of its own")
