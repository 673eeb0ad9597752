"""Flags of the form ``--KEY=VALUE``: read from the command line and merged over a configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hypernoise_pl.config.checks import check_key
from hypernoise_pl.config.merge import entry_index, merge_value
from hypernoise_pl.config.signatures import (
    ConfigError,
    accepts,
    base_classes,
    dict_value_types,
    field_types,
    find_class,
    item_type,
    parameters,
)


def read_flags(flags: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Name and value of each flag, written as ``--name=value`` or ``--name value``.

    Raises:
        ConfigError: for an argument that is no flag, or a flag without a value.
    """
    rest = iter(flags)
    for flag in rest:
        if not flag.startswith("--"):
            raise ConfigError(f"{flag}: not understood; a value of the configuration is set by --KEY=VALUE")
        name, equals, text = flag[2:].partition("=")
        value = text if equals else next(rest, None)
        if value is None or (not equals and value.startswith("--")):
            raise ConfigError(f"{flag}: needs a value; write {flag}=VALUE")
        yield name, value


def merge_flag(config: dict[str, Any], flag: str, text: str, key_types: Mapping[str, Any]) -> dict[str, Any]:
    """Merge one flag over a configuration.

    Args:
        config: plain configuration merged so far.
        flag: dotted name without init_args (``model.adapter.lora.rank``). A class name or an index names the entry of a
            list; a ``+`` at the end appends to a list.
        text: value as YAML; where the type is a text, the text itself.
        key_types: top-level key -> its type.

    Raises:
        ConfigError: naming the flag, and the nearest right key or class.
    """
    try:
        check_key(flag.partition(".")[0].rstrip("+"), key_types, "")
        return _set(config, flag.rstrip("+").split("."), text, key_types, "", flag.endswith("+"))
    except ConfigError as error:
        raise ConfigError(f"--{flag}: {str(error).removeprefix(f'{flag}: ')}") from None


def _set(node: Any, path: Sequence[str], text: str, hint: Any, where: str, append: bool) -> Any:
    """A node of a configuration with a flag's value set at a path below it.

    Args:
        node: value so far; None for none.
        path: keys that lead from the node to the value.
        text: value as it was written.
        hint: type of the node, or key -> type.
        where: dotted key of the node, for errors.
        append: whether the value is appended to a list.
    """
    if not path:
        return _append(node, text, hint, where) if append else merge_value(node, _read(text, hint), hint, where)
    key, rest = path[0], path[1:]
    below = f"{where}.{key}" if where else key
    if isinstance(node, list):
        index = entry_index(node, key, where)
        return [*node[:index], _set(node[index], rest, text, item_type(hint), below, append), *node[index + 1 :]]
    if isinstance(node, dict) and "class_path" in node:
        return _set_argument(node, path, text, hint, where, append)
    if node is not None and not isinstance(node, dict):
        raise ConfigError(f"the value is {node!r}, which has no key {key!r}; name a class first: --{where}=NAME")
    known = _key_types(node or {}, path, text, hint, where)
    return {**(node or {}), key: _set((node or {}).get(key), rest, text, known.get(key), below, append)}


def _append(node: Any, text: str, hint: Any, where: str) -> list[Any]:
    item = merge_value(None, _read(text, item_type(hint)), item_type(hint), where)
    before = node if isinstance(node, list) else [node] if node else []
    return [*before, *(item if isinstance(item, list) else [item])]


def _set_argument(node: dict[str, Any], path: Sequence[str], text: str, hint: Any, where: str, append: bool) -> Any:
    """The configuration of an object with one of its arguments, or its class, set."""
    key, rest = path[0], path[1:]
    if key == "class_path":
        return merge_value(node, {"class_path": text}, hint, where)
    if key == "init_args" and rest:
        key, rest = rest[0], rest[1:]
    cls = find_class(node["class_path"])
    known, arguments = parameters(cls), node.get("init_args") or {}
    check_key(key, known, where, f" of {cls.__name__}")
    value = _set(arguments.get(key), rest, text, known[key], f"{where}.{key}", append)
    return {**node, "init_args": {**arguments, key: value}}


def _key_types(node: Mapping[str, Any], path: Sequence[str], text: str, hint: Any, where: str) -> Mapping[str, Any]:
    """Key -> type of a node that is configured by its keys; empty if the types are not known."""
    key = path[0]
    if known := hint if isinstance(hint, Mapping) else field_types(hint):
        check_key(key, known, where)
        return known
    if values := dict_value_types(hint):
        new = len(path) == 1 and (not base_classes(values[0]) or isinstance(_read(text, values[0]), (str, dict)))
        if not new:
            check_key(key, node, where)
        return {key: values[0]}
    if base_classes(hint):
        raise ConfigError(f"no class is set there that takes {key!r}; name one first: --{where}=NAME")
    return {}


def _read(text: str, hint: Any) -> Any:
    """A flag's value read as YAML; the text itself where the type is a text."""
    try:
        value = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]))["value"]  # type: ignore[call-overload,index]
    except (yaml.YAMLError, OmegaConfBaseException):
        return text
    return text if isinstance(value, str) or (not accepts(hint, value) and accepts(hint, text)) else value
