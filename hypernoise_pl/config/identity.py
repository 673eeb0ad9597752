"""The identity of a run: the classes, options, weights and files that decide its figures, as JSON.

Settings that do not change results are left out: devices, chunks, names of folders, and options that a class lists as
``neutral``. The versions of PyTorch and its libraries are left out too: they change the last digits, and differ between
machines.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

_WEIGHT_FILES = {".bin", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx", ".pt", ".pth", ".safetensors"}
_DOCUMENTS = {".gitattributes", ".jpeg", ".jpg", ".md", ".png"}  # files that no program reads
_ABSENT = "nothing"  # for an option that one side does not have


def described(value: Any, loaded: bool = False) -> Any:
    """The identity of a value, as JSON; two values that decide the same figures have the same identity.

    An object becomes its class and its options, with their defaults, and a digest of its weights. A folder or file
    becomes a digest of its contents.

    Args:
        value: plain value, container of values, path, or an object that is a dataclass or keeps its arguments.
        loaded: whether the value is an option of a module, whose weights are in memory; weight files are then skipped.
    """
    if isinstance(value, (str, Path)):
        return _file(Path(value), loaded) if _exists(str(value)) else str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # NaN is not equal to itself
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(key): described(part, loaded) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [described(part, loaded) for part in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    if isinstance(value, Tensor):
        return _digest_of_tensors({"": value})
    if hasattr(value, "tolist"):  # numpy's
        return described(value.tolist(), loaded)
    if isinstance(value, type) or inspect.isroutine(value):
        return f"{value.__module__}.{value.__qualname__}"
    return _object(value, loaded)


def options(cls: type, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a class that decide figures: its arguments, and the defaults of the others.

    Args:
        cls: class.
        arguments: argument -> value.
    """
    neutral = getattr(cls, "neutral", ())
    return {name: value for name, value in (defaults(cls) | dict(arguments)).items() if name not in neutral}


def defaults(cls: type) -> dict[str, Any]:
    """Argument -> default, of a class and of the bases that it passes arguments to; others are left out."""
    by_name: dict[str, Any] = {}
    for base in inspect.getmro(cls):
        if "__init__" not in vars(base) or base is object:
            continue
        signature = list(inspect.signature(base.__init__).parameters.values())[1:]  # type: ignore[misc]
        own = {p.name: p.default for p in signature if p.default is not p.empty and not p.name.startswith("_")}
        by_name = own | by_name
        if not any(p.kind is p.VAR_KEYWORD for p in signature):
            break
    return by_name


def weights(module: nn.Module) -> dict[str, str]:
    """Part of a module -> a digest of its weights, the same on every device."""
    parts = dict(module.named_children())
    if callable(encoders := getattr(module, "text_encoders", None)):
        parts |= encoders()  # they may be kept outside the module, off the device
    digests = {name: _digest_of_tensors(part.state_dict()) for name, part in parts.items() if part.state_dict()}
    own = {name: tensor for name, tensor in module.state_dict().items() if "." not in name}
    return digests | ({"own": _digest_of_tensors(own)} if own else {})


def digest_of(values: Iterable[Any]) -> str:
    """A digest of many plain values."""
    return _digest([("", json.dumps(list(values), sort_keys=True, default=str).encode())])


def first_difference(before: Any, now: Any, name: str = "") -> str | None:
    """The first difference between two identities, such as ``generator.guidance_scale=4.5, this run has 40.0``.

    Args:
        before: identity of an earlier run.
        now: identity of this run.
        name: dotted name of both within the whole identity.

    Returns:
        The difference in words; None if they are equal.
    """
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in ["class"] + [key for key in {**before, **now} if key != "class"]:
            within = f"{name}.{key}" if name else key
            first = first_difference(before.get(key, _ABSENT), now.get(key, _ABSENT), within)
            if first is not None:
                return first
        return None
    if isinstance(before, list) and isinstance(now, (list, tuple)) and len(before) == len(now):
        pairs = (first_difference(old, new, f"{name}[{index}]") for index, (old, new) in enumerate(zip(before, now)))
        return next((pair for pair in pairs if pair is not None), None)
    return None if before == now else f"{name}={_short(before)}, this run has {_short(now)}"


def _object(value: Any, loaded: bool) -> dict[str, Any]:
    cls, state = type(value), vars(value) if hasattr(value, "__dict__") else {}
    loaded = loaded or isinstance(value, nn.Module)
    if dataclasses.is_dataclass(value):
        given = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init and f.name[0] != "_"}
    else:
        given = state.get("arguments", {name: part for name, part in state.items() if name[0] != "_" and _plain(part)})
    identity: dict[str, Any] = {"class": f"{cls.__module__}.{cls.__qualname__}"}
    for name, option in options(cls, given).items():
        identity[name] = described(option, loaded)
        kept = state.get(name, option)
        if _plain(option) and _plain(kept) and kept != option:  # the attribute was changed after it was set
            identity[name] = {"given": identity[name], "kept": described(kept, loaded)}
    if isinstance(value, nn.Module):
        identity["loaded_weights"] = weights(value)
        scheduler = getattr(getattr(value, "pipeline", None), "scheduler", None)
        if scheduler is not None:
            settings = {name: part for name, part in scheduler.config.items() if not name.startswith("_")}
            identity["scheduler_config"] = {"class": type(scheduler).__name__, **described(settings)}
    return identity


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _file(path: Path, loaded: bool) -> dict[str, str]:
    """A digest of a file's contents, or of all files of a folder without its documents."""
    if path.is_file():
        return {"contents": _digest([("", path.read_bytes())])}
    skipped = _DOCUMENTS | _WEIGHT_FILES if loaded else _DOCUMENTS
    names = {file.relative_to(path): file for file in sorted(path.rglob("*")) if file.is_file()}
    read = (
        (name.as_posix(), file.read_bytes())
        for name, file in names.items()
        if file.suffix.lower() not in skipped and not any(part.startswith(".") for part in name.parts)
    )
    return {"contents": _digest(read)}


def _exists(text: str) -> bool:
    """Whether a text is the path of a file or folder; a bare word is a name, even if a folder has that name."""
    if not text.startswith((".", "~", "/")) and "/" not in text and "." not in text:
        return False
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long, or with a zero byte
        return False


def _digest(parts: Iterable[tuple[str, Any]]) -> str:
    digest = hashlib.sha256()
    for name, data in parts:
        digest.update(f"{name} {len(data)} ".encode())
        digest.update(data)
    return digest.hexdigest()[:16]


def _digest_of_tensors(tensors: Mapping[str, Any]) -> str:
    def parts() -> Iterator[tuple[str, Any]]:
        for name, tensor in sorted(tensors.items()):
            if not isinstance(tensor, Tensor):
                yield name, repr(tensor).encode()
            else:
                data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
                yield f"{name} {tensor.dtype} {tuple(tensor.shape)}", data.data

    return _digest(parts())


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return str(value.get("class") or value.get("contents") or value.get("kept") or "something else")
    return str(value) if len(str(value)) <= 60 else f"{str(value)[:57]}..."
