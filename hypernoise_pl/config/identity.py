"""What decides a figure, in a form that can be written, compared and read: classes, options, weights and files.

Not in it is what changes no figure: devices, chunks, folders' names, and options that a class calls ``neutral``. Nor is
what cannot be held still from one machine to the next: the versions of PyTorch and its libraries, which move the last
digits.
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

_OF_WEIGHTS = {".bin", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx", ".pt", ".pth", ".safetensors"}
_ABOUT = {".gitattributes", ".jpeg", ".jpg", ".md", ".png"}  # files that only people read
_ABSENT = "nothing"  # in the place of what one side does not have


def described(value: Any, loaded: bool = False) -> Any:
    """A value as JSON has it, such that two of them are equal where they decide the same figures.

    An object becomes its class and its options, those left out by their defaults, and its weights become a digest. A
    folder or file becomes a digest of its contents, whatever it is called.

    Args:
        value: plain values, containers of them, paths, and objects that are dataclasses or keep their arguments.
        loaded: whether it is an option of a module, whose weights are in memory: a folder's are then not read again.
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


def options(kind: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a class that decide figures: those given, and the defaults of the others.

    Args:
        kind: class.
        given: argument -> value.
    """
    every = defaults(kind) | dict(given)
    neutral = getattr(kind, "neutral", ())
    return {name: value for name, value in every.items() if name not in neutral}


def defaults(kind: type) -> dict[str, Any]:
    """Argument -> default, those that a class passes on to its bases included; what has none is left out."""
    found: dict[str, Any] = {}
    for base in inspect.getmro(kind):
        if "__init__" not in vars(base) or base is object:
            continue
        signature = list(inspect.signature(base.__init__).parameters.values())[1:]  # type: ignore[misc]
        own = {p.name: p.default for p in signature if p.default is not p.empty and not p.name.startswith("_")}
        found = own | found
        if not any(p.kind is p.VAR_KEYWORD for p in signature):
            break
    return found


def weights(module: nn.Module) -> dict[str, str]:
    """Part of a module -> a digest of its saved weights, whatever device they are on."""
    parts = dict(module.named_children())
    if callable(encoders := getattr(module, "text_encoders", None)):
        parts |= encoders()  # they may be kept apart from the module, off the device
    found = {name: _digest_of_tensors(part.state_dict()) for name, part in parts.items() if part.state_dict()}
    own = {name: tensor for name, tensor in module.state_dict().items() if "." not in name}
    return found | ({"own": _digest_of_tensors(own)} if own else {})


def digest_of(values: Iterable[Any]) -> str:
    """A digest of many plain values, for lists too long to be written down."""
    return _digest([("", json.dumps(list(values), sort_keys=True, default=str).encode())])


def first_difference(before: Any, now: Any, name: str = "") -> str | None:
    """The first difference of two identities, in words; None where they are equal.

    Returns:
        Such as ``generator.guidance_scale=4.5, this run has 40.0``.
    """
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in ["class"] + [key for key in {**before, **now} if key != "class"]:
            within = f"{name}.{key}" if name else key
            found = first_difference(before.get(key, _ABSENT), now.get(key, _ABSENT), within)
            if found is not None:
                return found
        return None
    if isinstance(before, list) and isinstance(now, (list, tuple)) and len(before) == len(now):
        pairs = (first_difference(old, new, f"{name}[{place}]") for place, (old, new) in enumerate(zip(before, now)))
        return next((found for found in pairs if found is not None), None)
    return None if before == now else f"{name}={_short(before)}, this run has {_short(now)}"


def _object(value: Any, loaded: bool) -> dict[str, Any]:
    kind, state = type(value), vars(value) if hasattr(value, "__dict__") else {}
    loaded = loaded or isinstance(value, nn.Module)
    if dataclasses.is_dataclass(value):
        given = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init and f.name[0] != "_"}
    else:
        given = state.get("arguments", {name: part for name, part in state.items() if name[0] != "_" and _plain(part)})
    found: dict[str, Any] = {"class": f"{kind.__module__}.{kind.__qualname__}"}
    for name, option in options(kind, given).items():
        found[name] = described(option, loaded)
        kept = state.get(name, option)
        if _plain(option) and _plain(kept) and kept != option:  # what was made of it, or was set in its place since
            found[name] = {"given": found[name], "kept": described(kept, loaded)}
    if isinstance(value, nn.Module):
        found["loaded_weights"] = weights(value)
        scheduler = getattr(getattr(value, "pipeline", None), "scheduler", None)
        if scheduler is not None:
            settings = {name: part for name, part in scheduler.config.items() if not name.startswith("_")}
            found["scheduler_config"] = {"class": type(scheduler).__name__, **described(settings)}
    return found


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _file(path: Path, loaded: bool) -> dict[str, str]:
    """A digest of a file's contents, or of all files of a folder but those that people read."""
    if path.is_file():
        return {"contents": _digest([("", path.read_bytes())])}
    skipped = _ABOUT | _OF_WEIGHTS if loaded else _ABOUT
    names = {file.relative_to(path): file for file in sorted(path.rglob("*")) if file.is_file()}
    read = (
        (name.as_posix(), file.read_bytes())
        for name, file in names.items()
        if file.suffix.lower() not in skipped and not any(part.startswith(".") for part in name.parts)
    )
    return {"contents": _digest(read)}


def _exists(text: str) -> bool:
    """Whether a text is the path of something; a bare word is a name, even beside a folder that is called so."""
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
