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

    if not Path(model).exists() and (model.startswith((".", "/")) or model.count("/") != 1):
        raise FileNotFoundError(f"{what} {model}: no such folder, and no hub id (owner/name)")
    verbosity = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    try:
        return kind.from_pretrained(model, **options)
    except (SafetensorError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{what} {model}: damaged file: {error}") from error
    except OSError as error:
        raise FileNotFoundError(f"{what} {model}: {str(error).splitlines()[0]}") from error
    finally:
        diffusers_logging.set_verbosity(verbosity)
        diffusers_logging.enable_progress_bar()
        transformers_logging.enable_progress_bar()


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
