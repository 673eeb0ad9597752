"""Loading the weights of reward models, with one clear line where they are missing or damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file


def load_pretrained(kind: Any, model: str, **options: Any) -> Any:
    """``kind.from_pretrained(model)``, quietly.

    Raises:
        FileNotFoundError: if the folder or a file of it is missing.
        ValueError: if a file is damaged.
    """
    from transformers.utils import logging

    if not Path(model).exists() and (model.startswith((".", "/")) or model.count("/") != 1):
        raise FileNotFoundError(f"reward {model}: no such folder, and no hub id (owner/name)")
    logging.disable_progress_bar()
    try:
        return kind.from_pretrained(model, **options)
    except (SafetensorError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"reward {model}: damaged file: {error}") from error
    except OSError as error:
        raise FileNotFoundError(f"reward {model}: {str(error).splitlines()[0]}") from error
    finally:
        logging.enable_progress_bar()


def load_tensors(file: Path) -> dict[str, Any]:
    """The tensors of a safetensors file.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is damaged.
    """
    if not file.exists():
        raise FileNotFoundError(f"reward weights {file}: no such file")
    try:
        return load_file(file)
    except SafetensorError as error:
        raise ValueError(f"reward weights {file}: damaged file: {error}") from error
