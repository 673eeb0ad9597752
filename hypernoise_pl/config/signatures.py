"""Types of a configuration's values, read from the signatures of the classes that it names."""

from __future__ import annotations

import collections.abc
import dataclasses
import importlib
import inspect
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from hypernoise_pl.types import did_you_mean

PLAIN = (
    "builtins",
    "pathlib",
    "datetime",
    "torch",
)  # where classes are defined whose objects are values (torch.Tensor)
NUMBERS = {int: (int,), float: (int, float)}


class ConfigError(ValueError):
    """An error in what the user wrote; the message is one line."""


@dataclasses.dataclass(frozen=True)
class ArgumentsOf:
    """The type of a value whose keys are the arguments of a class that is not named there (``trainer``).

    Args:
        cls: class that takes the arguments.
    """

    cls: type


def find_class(class_path: str) -> type:
    """Import the class of a full dotted name.

    Raises:
        ConfigError: if there is none.
    """
    module, _, name = class_path.rpartition(".")
    if not module:
        raise ConfigError(f"class_path {class_path}: a short name is not known here; write the full one, MODULE.{name}")
    try:
        imported = importlib.import_module(module)
    except (ImportError, ValueError):
        raise ConfigError(f"class_path {class_path}: no module {module!r}; write a class's full name") from None
    if not hasattr(imported, name):
        classes = [other for other, cls in vars(imported).items() if inspect.isclass(cls)]
        raise ConfigError(f"class_path {class_path}: {module} has no {name!r}{did_you_mean(name, classes)}")
    return getattr(imported, name)  # type: ignore[no-any-return]


def class_path_of(cls: type) -> str:
    """The shortest full name of a class (``torch.optim.SGD``, not ``torch.optim.sgd.SGD``)."""
    parts = cls.__module__.split(".")
    for depth in range(1, len(parts) + 1):
        module = ".".join(parts[:depth])
        if vars(sys.modules[module]).get(cls.__name__) is cls:
            return f"{module}.{cls.__name__}"
    return f"{cls.__module__}.{cls.__qualname__}"


@cache
def parameters(cls: type) -> Mapping[str, Any]:
    """Name -> type of a class's public arguments; None for a type that is not known.

    The names are those that ``--help-class`` shows: jsonargparse follows ``**options`` into the classes that take them.
    """
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    add = parser.add_class_arguments if inspect.isclass(cls) else parser.add_function_arguments
    names = [name for name in add(cls, as_group=False, fail_untyped=False) if not name.startswith("_")]
    hints: dict[str, Any] = {}
    for base in inspect.getmro(cls) if inspect.isclass(cls) else ():
        if "__init__" in vars(base):
            hints = _hints_of(vars(base)["__init__"]) | hints
    hints |= {} if inspect.isclass(cls) else _hints_of(cls)
    return {name: hints.get(name) for name in names}


def field_types(hint: Any) -> Mapping[str, Any]:
    """Key -> type of a dataclass or of ``ArgumentsOf``, which are configured without a class_path; else empty."""
    for option in union_members(hint):
        if isinstance(option, ArgumentsOf):
            return parameters(option.cls)
        if dataclasses.is_dataclass(option) and inspect.isclass(option) and not inspect.isabstract(option):
            hints = typing.get_type_hints(option)
            return {field.name: hints[field.name] for field in dataclasses.fields(option) if field.init}
    return {}


def dict_value_types(hint: Any) -> Any:
    """The type of the values of a dict with free keys, in a list of one; empty if the type is no dict."""
    return [
        typing.get_args(o)[1] for o in union_members(hint) if typing.get_origin(o) in (dict, collections.abc.Mapping)
    ]


def item_type(hint: Any) -> Any:
    """The type of a list's items; None if it is not known."""
    lists = (list, set, tuple, collections.abc.Sequence, collections.abc.Iterable)
    types_of_items = [typing.get_args(o)[0] for o in union_members(hint) if typing.get_origin(o) in lists]
    return types_of_items[0] if types_of_items else None


def base_classes(hint: Any) -> list[type]:
    """The classes whose subclasses a value of this type may name."""
    classes: list[type] = []
    for option in union_members(hint):
        if typing.get_origin(option) is collections.abc.Callable:  # such as an optimiser, called later with the rest
            classes += base_classes(typing.get_args(option)[1])
        elif inspect.isclass(option) and option.__module__ not in PLAIN:
            classes.append(option)
    return classes


def class_named(name: str, hint: Any) -> type | None:
    """Find the class of a type by its short or full name; None if there is none.

    Where one of two classes of that short name derives from the other, it is the derived one.

    Raises:
        ConfigError: if several have that short name, or a full name is of no class.
    """
    if "." in name and all(part.isidentifier() for part in name.split(".")) and base_classes(hint):
        return find_class(name)
    classes = {cls for cls in known_classes(hint) if cls.__name__ == name}
    classes = {cls for cls in classes if not any(issubclass(other, cls) for other in classes - {cls})}
    if len(classes) > 1:
        raise ConfigError(
            f"{name!r} means several: {', '.join(sorted(map(class_path_of, classes)))}; write the full name"
        )
    return next(iter(classes), None)


def known_classes(hint: Any) -> Iterator[type]:
    """Every imported class that a value of this type may name; abstract ones are left out."""
    for base in base_classes(hint):
        if not inspect.isabstract(base):
            yield base
        subclasses: list[type] = type.__subclasses__(base)
        for derived in subclasses:
            yield from known_classes(derived)


def accepts(hint: Any, value: Any) -> bool:
    """Whether a value is of a type; an unknown type accepts every value, and every type accepts ``${...}``."""
    if hint is None or hint is Any or (isinstance(value, str) and "${" in value):
        return True
    return any(_accepts(option, value) for option in union_members(hint))


def union_members(hint: Any) -> tuple[Any, ...]:
    """The types of a union; a type by itself."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(option for member in typing.get_args(hint) for option in union_members(member))
    return (hint,)


def _accepts(option: Any, value: Any) -> bool:
    origin = typing.get_origin(option)
    if option in (Any, None) or isinstance(option, (ArgumentsOf, typing.TypeVar)):
        return option is not None or value is None
    if origin is typing.Literal:
        return value in typing.get_args(option)
    if isinstance(value, dict):
        return _accepts_mapping(option, value)
    if isinstance(value, list):
        return item_type(option) is not None and all(accepts(item_type(option), item) for item in value)
    if isinstance(value, bool) or value is None:
        return option is type(value)
    if option in NUMBERS:
        return isinstance(value, NUMBERS[option])
    if isinstance(value, str) and inspect.isclass(option) and option.__module__ in ("pathlib", "datetime"):
        return True
    return inspect.isclass(option) and isinstance(value, option)


def _accepts_mapping(option: Any, value: dict[str, Any]) -> bool:
    if isinstance(value.get("class_path"), str):
        if "." not in value["class_path"]:  # a short name, which is looked up when it is merged
            return bool(base_classes(option))
        cls = find_class(value["class_path"])
        return any(not inspect.isclass(cls) or issubclass(cls, base) for base in base_classes(option))
    if (values := dict_value_types(option)) and all(accepts(values[0], item) for item in value.values()):
        return True
    known = field_types(option)
    return bool(known) and all(accepts(known.get(key), item) for key, item in value.items())


def _hints_of(function: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):
        return {}
