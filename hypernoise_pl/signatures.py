"""Which keys a configuration may have, read from the signatures of the classes it names."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hypernoise_pl.types import nearest


class ConfigError(ValueError):
    """Something is wrong with what the user wrote; the message is one line."""


def find_class(class_path: str) -> type:
    """The class of a full dotted name.

    Raises:
        ConfigError: if there is none.
    """
    module, _, name = class_path.rpartition(".")
    try:
        found = importlib.import_module(module)
    except (ImportError, ValueError):
        raise ConfigError(f"class_path {class_path}: no module {module!r}; write a class's full name") from None
    if not hasattr(found, name):
        classes = [word for word, kind in vars(found).items() if inspect.isclass(kind)]
        raise ConfigError(f"class_path {class_path}: {module} has no {name!r}{nearest(name, classes)}")
    return getattr(found, name)  # type: ignore[no-any-return]


def parameters(kind: type) -> dict[str, Any]:
    """Name -> type of the arguments of a class, those that it passes on to its bases included, not the private ones."""
    found: dict[str, Any] = {}
    for base in inspect.getmro(kind):
        if "__init__" not in vars(base) or base is object:
            continue
        signature = inspect.signature(base.__init__).parameters  # type: ignore[misc]
        try:
            hints = typing.get_type_hints(base.__init__)  # type: ignore[misc]
        except (NameError, TypeError):
            hints = {}
        named = [p for p in list(signature.values())[1:] if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        plain = [p for p in named if not p.name.startswith("_")]
        found = {p.name: hints.get(p.name) for p in plain} | found
        if not any(p.kind is p.VAR_KEYWORD for p in signature.values()):
            break
    return found


def check_keys(node: Any, hint: Any = None, where: str = "") -> None:
    """Check every class name and key of a merged configuration.

    Args:
        node: plain dicts, lists and values.
        hint: the type the node is to become, if known.
        where: its dotted name.

    Raises:
        ConfigError: naming the first wrong key and the nearest right one.
    """
    if isinstance(node, Sequence) and not isinstance(node, str):
        kind = typing.get_args(hint)[0] if typing.get_origin(hint) is list else None
        for index, item in enumerate(node):
            check_keys(item, kind, f"{where}[{index}]")
    if not isinstance(node, Mapping):
        return
    if isinstance(node.get("class_path"), str) and "." in node["class_path"]:
        for key in node:
            _must_be_in(str(key), ("class_path", "init_args", "dict_kwargs"), where)
        known = parameters(find_class(node["class_path"]))
        for key, child in (node.get("init_args") or {}).items():
            _must_be_in(str(key), known, where, f" of {node['class_path'].rpartition('.')[2]}")
            check_keys(child, known[key], f"{where}.{key}")
        return
    known = dict(_fields(hint))
    for key, child in node.items():
        if known:
            _must_be_in(str(key), known, where)
        check_keys(child, known.get(str(key)), f"{where}.{key}" if where else str(key))


def check_flag(path: str, value: str, config: dict[str, Any], roots: Mapping[str, type]) -> None:
    """Check the dotted name of a flag against the merged configuration and the classes it names.

    A flag that names a class is entered into the configuration, so that later flags are checked against that class.

    Args:
        path: for example ``model.reward_weights.clip``.
        value: what it is set to; where a class is wanted, the name of one.
        config: merged configuration, plain, with the classes that earlier flags named.
        roots: top-level key -> class, for those that are classes.

    Raises:
        ConfigError: naming the wrong part and the nearest right one.
    """
    parts = [part for part in path.rstrip("+").split(".") if part not in ("init_args", "class_path")]
    _must_be_in(parts[0], [*config, *roots], "", "", "--")
    node, hint = config.get(parts[0]), roots.get(parts[0])
    within: Any = config  # what holds the node
    for depth, part in enumerate(parts[1:], 1):
        where = "--" + ".".join(parts[:depth])
        if isinstance(node, dict) and isinstance(node.get("class_path"), str):
            known: Mapping[str, Any] = parameters(find_class(node["class_path"]))
            node = node.get("init_args") or node.setdefault("init_args", {})
        elif depth == 1 and hint is not None:
            known = parameters(hint)
        elif typing.get_origin(hint) is dict:
            kind = typing.get_args(hint)[1]
            new = [part] if depth == len(parts) - 1 and _may_be_new(value, kind) else []
            known = dict.fromkeys([*(node or {}), *new], kind)
        else:
            known = dict(_fields(hint))
        if not known:
            return  # nothing is known of what may stand here; the parser will say
        _must_be_in(part, known, where)
        within, hint, node = node, known[part], node.get(part) if isinstance(node, Mapping) else None
    kinds = {kind.__name__: kind for kind in _kinds(hint)}
    if kinds and _is_dotted(value):
        kinds |= {value.rpartition(".")[2]: find_class(value)}
    if named := kinds.get(value.rpartition(".")[2]):
        _enter(within, parts[-1], named)
    if len(kinds) > 1 and value.isidentifier() and value not in (*kinds, "null", "None"):
        raise ConfigError(
            f"--{path}: no class is called {value!r}{nearest(value, kinds)}; there are {', '.join(kinds)}"
        )


def _may_be_new(value: str, kind: Any) -> bool:
    """Whether a flag may add an entry to a dict: a class where it holds objects, anything where it holds numbers."""
    kinds = [found.__name__ for found in _kinds(kind)]
    return not kinds or value in kinds or _is_dotted(value)


def _is_dotted(value: str) -> bool:
    """Whether a flag's value reads as the full name of a class."""
    return "." in value and value.replace(".", "").isidentifier()


def _enter(within: Any, key: str, kind: type) -> None:
    """Put a class in its place, with the arguments that it shares with what stood there."""
    before = within.get(key) if isinstance(within, dict) else None
    arguments = (before.get("init_args") or {}) if isinstance(before, Mapping) else {}
    if isinstance(within, dict):
        kept = {name: value for name, value in arguments.items() if name in parameters(kind)}
        within[key] = {"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": kept}


def _kinds(hint: Any) -> Iterator[type]:
    """A class of ours (or the classes of a union) and all that derive from it, but for abstract ones."""
    for option in typing.get_args(hint) or (hint,):
        if inspect.isclass(option) and option.__module__.startswith("hypernoise_pl"):
            if not inspect.isabstract(option):
                yield option
            for derived in option.__subclasses__():
                yield from _kinds(derived)


def _fields(hint: Any) -> Iterator[tuple[str, Any]]:
    """Name -> type of a dataclass that is configured by its fields, not by a class_path."""
    if dataclasses.is_dataclass(hint) and not inspect.isabstract(hint):
        hints = typing.get_type_hints(hint)
        yield from ((field.name, hints[field.name]) for field in dataclasses.fields(hint) if field.init)


def _must_be_in(key: str, known: Any, where: str, whose: str = "", prefix: str = "") -> None:
    if key not in known:
        place = f"{where}: " if where else ""
        raise ConfigError(f"{place}no key is called {prefix + key!r}{whose}{nearest(key, known)}")
