"""What a place in a configuration may hold, read from the signatures of the classes that it names."""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import importlib
import inspect
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from hypernoise_pl.types import nearest

PLAIN = (
    "builtins",
    "pathlib",
    "datetime",
    "torch",
)  # where classes are defined whose objects are values (torch.Tensor)
NUMBERS = {int: (int,), float: (int, float)}
IN_WORDS = {int: "a whole number", float: "a number"}


class ConfigError(ValueError):
    """Something is wrong with what the user wrote; the message is one line."""


@dataclasses.dataclass(frozen=True)
class ArgumentsOf:
    """The type of a place whose keys are the arguments of one class, which is not named there (``trainer``)."""

    kind: type


def find_class(class_path: str) -> type:
    """The class of a full dotted name.

    Raises:
        ConfigError: if there is none.
    """
    module, _, name = class_path.rpartition(".")
    if not module:
        raise ConfigError(f"class_path {class_path}: a short name is not known here; write the full one, MODULE.{name}")
    try:
        found = importlib.import_module(module)
    except (ImportError, ValueError):
        raise ConfigError(f"class_path {class_path}: no module {module!r}; write a class's full name") from None
    if not hasattr(found, name):
        classes = [word for word, kind in vars(found).items() if inspect.isclass(kind)]
        raise ConfigError(f"class_path {class_path}: {module} has no {name!r}{nearest(name, classes)}")
    return getattr(found, name)  # type: ignore[no-any-return]


def class_path_of(kind: type) -> str:
    """The shortest full name under which a class is found (``torch.optim.SGD``, not ``torch.optim.sgd.SGD``)."""
    parts = kind.__module__.split(".")
    for depth in range(1, len(parts) + 1):
        module = ".".join(parts[:depth])
        if vars(sys.modules[module]).get(kind.__name__) is kind:
            return f"{module}.{kind.__name__}"
    return f"{kind.__module__}.{kind.__qualname__}"


@cache
def parameters(kind: type) -> Mapping[str, Any]:
    """Name -> type of the arguments that a class takes, those that it passes on included, not the private ones.

    Which there are is what ``--help-class`` shows: the parser reads them from the code, through ``**options`` too. A
    type that is not known is None.
    """
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    add = parser.add_class_arguments if inspect.isclass(kind) else parser.add_function_arguments
    names = [name for name in add(kind, as_group=False, fail_untyped=False) if not name.startswith("_")]
    hints: dict[str, Any] = {}
    for base in inspect.getmro(kind) if inspect.isclass(kind) else ():
        if "__init__" in vars(base):
            hints = _hints_of(vars(base)["__init__"]) | hints
    hints |= {} if inspect.isclass(kind) else _hints_of(kind)
    return {name: hints.get(name) for name in names}


def fields(hint: Any) -> Mapping[str, Any]:
    """Key -> type of what is configured by its keys and not by a class_path: a dataclass, arguments; else nothing."""
    for option in options(hint):
        if isinstance(option, ArgumentsOf):
            return parameters(option.kind)
        if dataclasses.is_dataclass(option) and inspect.isclass(option) and not inspect.isabstract(option):
            hints = typing.get_type_hints(option)
            return {field.name: hints[field.name] for field in dataclasses.fields(option) if field.init}
    return {}


def entries(hint: Any) -> Any:
    """The type of the values of a dict whose keys are free, in a list of one; empty if no dict may stand there."""
    return [typing.get_args(o)[1] for o in options(hint) if typing.get_origin(o) in (dict, collections.abc.Mapping)]


def items(hint: Any) -> Any:
    """The type of the items of a list; None if it is not known."""
    lists = (list, set, tuple, collections.abc.Sequence, collections.abc.Iterable)
    found = [typing.get_args(option)[0] for option in options(hint) if typing.get_origin(option) in lists]
    return found[0] if found else None


def bases(hint: Any) -> list[type]:
    """The classes of which one, or one that derives from it, is named where this type is wanted."""
    found = []
    for option in options(hint):
        if typing.get_origin(option) is collections.abc.Callable:  # the class is called later, with what is missing
            found += bases(typing.get_args(option)[1])
        elif inspect.isclass(option) and option.__module__ not in PLAIN:
            found.append(option)
    return found


def named(name: str, hint: Any) -> type | None:
    """The class that a short or full name means where a type is wanted; None if no class of that type has it.

    Of two that have a short name, one of which derives from the other, the derived one is meant.

    Raises:
        ConfigError: if several have that short name, or a full name is of no class.
    """
    if "." in name and all(part.isidentifier() for part in name.split(".")) and bases(hint):
        return find_class(name)
    found = {kind for kind in kinds(hint) if kind.__name__ == name}
    found = {kind for kind in found if not any(issubclass(other, kind) for other in found - {kind})}
    if len(found) > 1:
        raise ConfigError(
            f"{name!r} means several: {', '.join(sorted(map(class_path_of, found)))}; write the full name"
        )
    return next(iter(found), None)


def kinds(hint: Any) -> Iterator[type]:
    """Every class that may be named where a type is wanted, but for abstract ones."""
    for base in bases(hint):
        if not inspect.isabstract(base):
            yield base
        subclasses: list[type] = type.__subclasses__(base)
        for derived in subclasses:
            yield from kinds(derived)


def accepts(hint: Any, value: Any) -> bool:
    """Whether a value of a configuration is of a type; a type that is not known accepts all, and so does ``${...}``."""
    if hint is None or hint is Any or (isinstance(value, str) and "${" in value):
        return True
    return any(_accepts(option, value) for option in options(hint))


def options(hint: Any) -> tuple[Any, ...]:
    """The types of a union; a type by itself."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(option for member in typing.get_args(hint) for option in options(member))
    return (hint,)


def must_be_in(key: str, known: Any, where: str, whose: str = "") -> None:
    """Refuse a key that is not known.

    Raises:
        ConfigError: naming the key and the nearest right one.
    """
    if key not in known:
        raise ConfigError(f"{where}{': ' if where else ''}no key is called {key!r}{whose}{nearest(key, known)}")


def must_fit(value: Any, hint: Any, where: str) -> None:
    """Refuse a text where numbers or certain words are wanted, and a fraction where a whole number is.

    Raises:
        ConfigError: naming the text, and what is wanted.
    """
    wanted = [option for option in options(hint) if option is not type(None)]
    words = [
        str(word)
        for option in wanted
        if typing.get_origin(option) is typing.Literal
        for word in typing.get_args(option)
    ]
    numbers = [IN_WORDS[option] for option in wanted if option in IN_WORDS]
    simple = wanted and all(option in IN_WORDS or typing.get_origin(option) is typing.Literal for option in wanted)
    fraction = isinstance(value, float) and wanted == [int]
    if not simple or not (fraction or isinstance(value, str)) or "${" in str(value) or value in words:
        return
    if numbers and not fraction:
        with contextlib.suppress(ValueError):
            float(value)
            return
    known = [*dict.fromkeys(words)]
    one_of = [f"one of {', '.join(known)}"] if known else []
    raise ConfigError(
        f"{where}{': ' if where else ''}{value!r} stands there; give {' or '.join([*numbers, *one_of])}"
        f"{nearest(str(value), known)}"
    )


def _accepts(option: Any, value: Any) -> bool:
    origin = typing.get_origin(option)
    if option in (Any, None) or isinstance(option, (ArgumentsOf, typing.TypeVar)):
        return option is not None or value is None
    if origin is typing.Literal:
        return value in typing.get_args(option)
    if isinstance(value, dict):
        if isinstance(value.get("class_path"), str):
            if "." not in value["class_path"]:  # a short name, which is looked up where it is merged
                return bool(bases(option))
            kind = find_class(value["class_path"])
            return any(not inspect.isclass(kind) or issubclass(kind, base) for base in bases(option))
        return (bool(entries(option)) and all(accepts(entries(option)[0], each) for each in value.values())) or (
            bool(fields(option)) and all(accepts(fields(option).get(key), each) for key, each in value.items())
        )
    if isinstance(value, list):
        return items(option) is not None and all(accepts(items(option), each) for each in value)
    if isinstance(value, bool) or value is None:
        return option is type(value)
    if option in NUMBERS:
        return isinstance(value, NUMBERS[option])
    if isinstance(value, str) and inspect.isclass(option) and option.__module__ in ("pathlib", "datetime"):
        return True
    return inspect.isclass(option) and isinstance(value, option)


def _hints_of(function: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):
        return {}
