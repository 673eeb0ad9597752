"""Loading what others have saved: quietly, with one clear line where a file is missing or damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file


def load_pretrained(kind: Any, model: str, what: str, **options: Any) -> Any:
    """``kind.from_pretrained(model)`` of diffusers or transformers.

    Args:
        kind: class.
        model: folder or hub id.
        what: ``generator`` or ``reward``, for messages.
        options: of ``from_pretrained``.

    Raises:
        FileNotFoundError: if the folder or a file of it is missing.
        ValueError: if a file is damaged.
    """
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    _check_place(model, what)
    verbosity = diffusers_logging.get_verbosity(), transformers_logging.get_verbosity()
    diffusers_logging.set_verbosity_error()
    transformers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    try:
        return kind.from_pretrained(model, **options)
    except (SafetensorError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{what} {model}: damaged file: {error}") from error
    except OSError as error:
        raise FileNotFoundError(f"{what} {model}: {str(error).splitlines()[0]}") from error
    finally:
        diffusers_logging.set_verbosity(verbosity[0])
        transformers_logging.set_verbosity(verbosity[1])
        diffusers_logging.enable_progress_bar()
        transformers_logging.enable_progress_bar()


def load_whole(kind: Any, model: str, what: str, spare: tuple[str, ...] = (), **options: Any) -> Any:
    """``load_pretrained`` of a transformers model in float32, of which no weight may be missing.

    transformers draws missing weights at random, with a warning; and it would keep a file's half precision, in which
    scores are coarse and a CPU is slow.

    Args:
        kind: class.
        model: folder or hub id.
        what: ``reward`` or ``features``, for messages.
        spare: beginnings of the names of weights that are not used and may be missing.
        options: of ``from_pretrained``.

    Raises:
        FileNotFoundError: if the folder or a file of it is missing.
        ValueError: if a file is damaged, lacks weights or has others than its config says.
    """
    import torch

    try:
        found, report = load_pretrained(kind, model, what, dtype=torch.float32, output_loading_info=True, **options)
    except RuntimeError as error:
        raise ValueError(f"{what} {model}: its weights have other shapes than its config.json says") from error
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(spare))
    if missing:
        raise ValueError(
            f"{what} {model}: no weights for {missing[0]} ({len(missing)} missing in all); it was not saved from "
            f"a {type(found).__name__}"
        )
    return found


def find_file(model: str, name: str, what: str) -> Path:
    """Where a file of a folder lies, or of a hub repository, which is downloaded once.

    Args:
        model: folder or hub id.
        name: of the file in it.
        what: ``reward`` or ``generator``, for messages.

    Raises:
        FileNotFoundError: if there is no such folder or file.
    """
    _check_place(model, what)
    if Path(model).exists():
        if not (Path(model) / name).exists():
            raise FileNotFoundError(f"{what} {model}: no {name} in that folder")
        return Path(model) / name
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(model, name))
    except (OSError, ValueError) as error:
        raise FileNotFoundError(f"{what} {model}: {name} is not to be had: {str(error).splitlines()[0]}") from error


def _check_place(model: str, what: str) -> None:
    if not Path(model).exists() and (model.startswith((".", "/")) or model.count("/") != 1):
        raise FileNotFoundError(f"{what} {model}: no such folder, and no hub id (owner/name)")


def load_tensors(file: Path, what: str) -> dict[str, Any]:
    """The tensors of a safetensors file.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is damaged.
    """
    if not file.exists():
        raise FileNotFoundError(f"{what} {file}: no such file")
    try:
        return load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{what} {file}: damaged file: {error}") from error
