"""Models on PyTorch's meta device, without weights, and the sizes of stored weights."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from hypernoise_pl.checkpoints.loading import quiet


def find_model_folder(model: str) -> Path | None:
    """Folder of a model, given as a path or in the hub's local cache; None if it is on neither."""
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def meta_pipeline(folder: Path, dtype: torch.dtype) -> Any:
    """A diffusers pipeline with its networks on the meta device; tokenizers and schedulers are complete.

    Args:
        folder: folder of a saved pipeline.
        dtype: dtype of the networks.

    Raises:
        OSError, ValueError, AttributeError: if a file is missing or damaged, or names a class that is not installed.
    """
    import diffusers

    index = json.loads((folder / "model_index.json").read_text())
    parts: dict[str, Any] = {}
    with quiet():
        for name, entry in index.items():
            if name.startswith("_"):
                continue
            parts[name] = _part(folder / name, entry[0], entry[1], dtype) if isinstance(entry, list) else entry
        return getattr(diffusers, index["_class_name"])(**parts)


def count_stored_parameters(folder: Path) -> tuple[int, int]:
    """Number of parameters in a folder's safetensors files, and the files' size in bytes; only headers are read.

    Raises:
        ValueError: if one of the files is damaged.
    """
    count = size = 0
    for file in sorted(folder.rglob("*.safetensors")):
        try:
            with safe_open(file, "pt") as opened:
                count += sum(_elements(opened.get_slice(key).get_shape()) for key in opened.keys())  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{file}: damaged file: {error}") from error
        size += file.stat().st_size
    return count, size


def missing_weights(folder: Path) -> list[str]:
    """Missing weights of a pipeline folder: networks without weights, and indexed files that do not exist."""
    lacking: list[str] = []
    for config in sorted(folder.glob("*/config.json")):
        part = config.parent
        indices = [*part.glob("*.index.json")]
        named = {name for index in indices for name in json.loads(index.read_text())["weight_map"].values()}
        lacking.extend(f"no {part.name}/{name}" for name in sorted(named) if not (part / name).is_file())
        if not named and not any(file.suffix in (".safetensors", ".bin") for file in part.iterdir()):
            lacking.append(f"no weights in {part.name}/")
    return lacking


def count_parameters(part: nn.Module) -> tuple[int, int]:
    """Number of a module's parameters, and their size in bytes."""
    every = list(part.parameters())
    return sum(p.numel() for p in every), sum(p.numel() * p.element_size() for p in every)


def _part(folder: Path, library: str | None, name: str | None, dtype: torch.dtype) -> Any:
    if library is None or name is None:
        return None
    kind: Any = getattr(importlib.import_module(library), name)
    if not any(part is nn.Module for part in kind.__mro__):  # a tokenizer, a scheduler
        return kind.from_pretrained(folder)
    with torch.device("meta"):
        if hasattr(kind, "load_config"):  # of diffusers
            made = kind.from_config(kind.load_config(folder))
        else:
            made = kind(kind.config_class.from_pretrained(folder))
    return made.to(dtype)


def _elements(shape: Any) -> int:
    count = 1
    for side in shape:
        count *= side
    return count
