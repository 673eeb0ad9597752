"""Loading of published models with one-line errors for missing or damaged files."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

UNREACHED = "not in the local cache, and the hub is unreachable or offline mode is on"


def load_pretrained(cls: Any, model: str, what: str, **options: Any) -> Any:
    """``cls.from_pretrained(model)`` of diffusers or transformers.

    Args:
        cls: class with ``from_pretrained``.
        model: folder or hub id.
        what: caller's kind, for messages: ``generator`` or ``reward``.
        options: further arguments of ``from_pretrained``.

    Raises:
        FileNotFoundError: if the folder or a file of it is missing, or the hub refuses it.
        ValueError: if a file is damaged.
    """
    _check_folder(model, what)
    return load_with(lambda: cls.from_pretrained(model, **options), model, what)


def load_with(load: Callable[[], Any], model: str, what: str) -> Any:
    """Call a loader of diffusers or transformers; errors are those of ``load_pretrained``."""
    check_model_name(model, what)
    try:
        with quiet():
            return load()
    except (SafetensorError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{what} {model}: damaged file: {error}") from error
    except Exception as error:
        reason = None if Path(model).exists() else hub_reason(error, model)
        if reason is None and not isinstance(error, OSError):
            raise
        raise FileNotFoundError(f"{what} {model}: {reason or str(error).splitlines()[0]}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Limit diffusers, transformers and the hub client to errors, without progress bars."""
    from diffusers.utils import logging as diffusers_logging
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    verbosity = [library.get_verbosity() for library in (*libraries, hub_logging)]
    for library in (*libraries, hub_logging):
        library.set_verbosity_error()
    for library in libraries:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, level in zip((*libraries, hub_logging), verbosity):
            library.set_verbosity(level)
        for library in libraries:
            library.enable_progress_bar()


def find_file(model: str, name: str, what: str, revision: str | None = None, local_only: bool = False) -> Path:
    """Path of a file in a folder or a hub repository, downloaded if needed; errors are those of ``load_pretrained``."""
    from huggingface_hub import hf_hub_download

    _check_folder(model, what)
    if Path(model).is_dir():
        if not (Path(model) / name).exists():
            raise FileNotFoundError(f"{what} {model}: no {name} in this folder")
        return Path(model) / name
    return load_with(
        lambda: Path(hf_hub_download(model, name, revision=revision, local_files_only=local_only)), model, what
    )


def hub_reason(error: BaseException, model: str) -> str | None:
    """Reason why the hub refused a model, and a remedy; None for an error of another kind."""
    from huggingface_hub import errors

    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    folder = f"for a folder on this machine give its path, such as ./{Path(model).name}"
    token = "a token (hf auth login, or the variable HF_TOKEN)"
    reasons: list[tuple[tuple[type[BaseException], ...], str]] = [
        ((errors.GatedRepoError,), f"gated: accept its terms on its page on the hub, then give {token}"),
        ((errors.RepositoryNotFoundError,), f"no such id on the hub; a private one needs {token}; {folder}"),
        ((errors.RevisionNotFoundError,), "the hub has the model but not this revision (a branch, a tag or a commit)"),
        ((errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError, ConnectionError), f"{UNREACHED}; {folder}"),
        ((errors.EntryNotFoundError,), "the hub has the model but not all its files; it may be of another kind"),
    ]
    for kinds, reason in reasons:
        if any(isinstance(link, kinds) for link in chain):
            return reason
    # the hub's client has changed its own HTTP library before
    unreached = any(type(link).__module__.startswith(("httpx", "requests")) for link in chain)
    return f"{UNREACHED}; {folder}" if unreached else None


def load_pretrained_strict(cls: Any, model: str, what: str, optional: tuple[str, ...] = (), **options: Any) -> Any:
    """``load_pretrained`` of a transformers model in float32; a missing weight is an error.

    transformers initialises missing weights at random, with a warning, and keeps a file's half precision, in which
    scores are coarse and a CPU is slow.

    Args:
        cls: class with ``from_pretrained``.
        model: folder or hub id.
        what: caller's kind, for messages: ``reward`` or ``features``.
        optional: prefixes of keys that may be missing.
        options: further arguments of ``from_pretrained``.

    Raises:
        FileNotFoundError: if the folder or a file of it is missing.
        ValueError: if a file is damaged, lacks weights or has others than its config says.
    """
    import torch

    try:
        loaded, report = load_pretrained(cls, model, what, dtype=torch.float32, output_loading_info=True, **options)
    except RuntimeError as error:
        raise ValueError(f"{what} {model}: its weights have other shapes than its config.json says") from error
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(optional))
    if missing:
        raise ValueError(
            f"{what} {model}: no weights for {missing[0]} ({len(missing)} missing in all); it was not saved from "
            f"a {type(loaded).__name__}"
        )
    return loaded


def check_model_name(model: str, what: str) -> None:
    """Raise ``FileNotFoundError`` if ``model`` is no existing path and no possible hub id."""
    if not Path(model).exists() and (model.startswith((".", "/")) or model.count("/") != 1):
        raise FileNotFoundError(f"{what} {model}: no such folder, and no hub id (owner/name)")


def _check_folder(model: str, what: str) -> None:
    if Path(model).is_file():
        raise NotADirectoryError(f"{what} {model}: a file; give its folder, {Path(model).parent}, or a hub id")


def load_tensors(file: Path, what: str) -> dict[str, Any]:
    """Read a safetensors file.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is damaged.
    """
    if not file.exists():
        raise FileNotFoundError(f"{what} {file}: no such file")
    if file.is_dir():
        raise ValueError(f"{what} {file}: a folder; give the .safetensors file in it")
    try:
        return load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{what} {file}: damaged file, or no safetensors: {error}") from error
