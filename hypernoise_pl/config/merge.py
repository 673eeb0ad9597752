"""Two configurations merged by the types of the classes that they name.

Files and flags are merged by the same rules; the later value wins. Mappings are merged and lists are replaced. A
mapping over a list changes the entries that it names, each by its class or its index. Where a class replaces another,
those arguments stay that the new class takes under the same name and type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypernoise_pl.config.checks import check_key, check_value
from hypernoise_pl.config.signatures import (
    ConfigError,
    accepts,
    base_classes,
    class_named,
    class_path_of,
    dict_value_types,
    field_types,
    find_class,
    item_type,
    known_classes,
    parameters,
    union_members,
)
from hypernoise_pl.types import did_you_mean


def merge_config(
    config: dict[str, Any], later: Mapping[str, Any], key_types: Mapping[str, Any] | None, source: str
) -> dict[str, Any]:
    """Merge a configuration over another.

    Args:
        config: plain configuration merged so far.
        later: plain configuration that wins.
        key_types: top-level key -> its type; None leaves the keys unchecked.
        source: origin of ``later``, named in errors.

    Raises:
        ConfigError: for a key, class or value that cannot be there.
    """
    try:
        return _merge_keys(config, later, key_types, "")
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None


def merge_value(base: Any, later: Any, hint: Any, where: str) -> Any:
    """Merge one value over another; names of classes become class_paths.

    Args:
        base: value so far; None for none.
        later: value that wins.
        hint: type of the value; None if it is not known.
        where: dotted key of the value, for errors.

    Raises:
        ConfigError: for a key, class or value that cannot be there.
    """
    base, later = _plain_fields(base, hint), _with_class_path(later, hint, where)
    later = later if isinstance(base, dict) and "class_path" in base else _plain_fields(later, hint)
    if isinstance(later, list):
        return [merge_value(None, item, item_type(hint), f"{where}[{index}]") for index, item in enumerate(later)]
    if not isinstance(later, dict):
        check_value(later, hint, where)
        return later
    if isinstance(base, list) and "class_path" not in later:
        return _merge_items(base, later, hint, where)
    base = base if isinstance(base, dict) else {}
    if "class_path" not in later and "class_path" not in base:
        return _merge_keys(base, later, field_types(hint) or _free_key_types(hint, base, later, where), where)
    return _merge_object(base, later, where)


def entry_index(entries: Sequence[Any], name: str, where: str) -> int:
    """Find the list entry that a class name or an index names.

    Raises:
        ConfigError: if there is none, or the class is in the list more than once.
    """
    if name.isdigit() and int(name) < len(entries):
        return int(name)
    classes = [str(entry.get("class_path") if isinstance(entry, dict) else "").rpartition(".")[2] for entry in entries]
    if classes.count(name) == 1:
        return classes.index(name)
    if name in classes:
        indices = " and ".join(str(index) for index, other in enumerate(classes) if other == name)
        raise ConfigError(f"{where}: {name!r} is in the list more than once; name one by its index: {indices}")
    raise ConfigError(
        f"{where}: a list of {len(entries)}; {name!r} is no index of it and no class in it{did_you_mean(name, classes)}"
    )


def _merge_items(base: list[Any], later: Mapping[str, Any], hint: Any, where: str) -> list[Any]:
    """Merge a mapping over a list: each key names an entry by its class or its index."""
    merged = [*base]
    for key, value in later.items():
        index = entry_index(base, str(key), where)
        merged[index] = merge_value(merged[index], value, item_type(hint), f"{where}.{key}")
    return merged


def _merge_object(base: Mapping[str, Any], later: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Merge two configurations of objects, of which at least one has a class_path."""
    cls = find_class(later.get("class_path", base.get("class_path")))
    for key in map(str, later):
        if key in parameters(cls):
            raise ConfigError(f"{where}: {key!r} is an argument of {cls.__name__}; write it under {where}.init_args")
        check_key(key, ("class_path", "init_args", "dict_kwargs"), where)
    if "class_path" in later and "class_path" in base and find_class(base["class_path"]) is not cls:
        base = {"class_path": class_path_of(cls), "init_args": _shared_arguments(base.get("init_args") or {}, cls)}
    merged = {**base, **later}
    if "init_args" in merged:
        arguments = base.get("init_args") or {}, later.get("init_args") or {}
        merged["init_args"] = _merge_keys(*arguments, parameters(cls), where, f" of {cls.__name__}")
    return merged


def _merge_keys(
    base: Any, later: Any, key_types: Mapping[str, Any] | None, where: str, owner: str = ""
) -> dict[str, Any]:
    merged = dict(base)
    for key, value in later.items():
        if key_types is not None:
            check_key(str(key), key_types, where, owner)
        hint = None if key_types is None else key_types[str(key)]
        merged[str(key)] = merge_value(base.get(key), value, hint, f"{where}.{key}" if where else str(key))
    return merged


def _plain_fields(value: Any, hint: Any) -> Any:
    """The fields of a dataclass, where one is expected and the value's class_path names that same one."""
    if not (isinstance(value, dict) and value and set(value) <= {"class_path", "init_args"} and field_types(hint)):
        return value
    name = value.get("class_path")
    return (value.get("init_args") or {}) if name is None or find_class(name) in union_members(hint) else value


def _free_key_types(hint: Any, base: Any, later: Any, where: str) -> Mapping[str, Any] | None:
    """Key -> type for a dict with free keys; in a dict of objects a new key must name its class."""
    if not (values := dict_value_types(hint)):
        return None
    for key, value in later.items():
        without_class = isinstance(value, dict) and "class_path" not in value and not field_types(values[0])
        if base_classes(values[0]) and key not in base and without_class:
            raise ConfigError(
                f"{where}: no key is called {key!r}{did_you_mean(str(key), base)}; a new one names its class"
            )
    return dict.fromkeys(map(str, later), values[0])


def _with_class_path(value: Any, hint: Any, where: str) -> Any:
    """A value in which the name of a class, short or full, is replaced by a class_path."""
    name = value.get("class_path") if isinstance(value, dict) else value
    if not isinstance(name, str) or "${" in name or not base_classes(hint):
        return value
    may_be_text = name is value and accepts(hint, name)  # such as trainer.strategy, which takes a text too
    try:
        cls = class_named(name, hint)
    except ConfigError:
        if not may_be_text:
            raise
        cls = None
    if cls is None and may_be_text:
        return value
    if cls is None:
        known = sorted({cls.__name__ for cls in known_classes(hint) if not cls.__name__.startswith("_")})
        choice = f"; there are {', '.join(known)}" if len(known) <= 30 else ""
        raise ConfigError(f"{where}: no class is called {name!r}{did_you_mean(name, known)}{choice}")
    path = class_path_of(cls) if "." not in name else name
    return {**value, "class_path": path} if isinstance(value, dict) else {"class_path": path}


def _shared_arguments(arguments: Mapping[str, Any], cls: type) -> dict[str, Any]:
    """Those arguments that a class takes too, under the same name and of its type."""
    known = parameters(cls)
    return {key: value for key, value in arguments.items() if key in known and accepts(known[key], value)}
