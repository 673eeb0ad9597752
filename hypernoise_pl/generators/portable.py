"""A generator's class and arguments, in a form that means the same on every machine."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from hypernoise_pl.config.files import PACKAGE
from hypernoise_pl.generators.base import Generator

_OF_THE_MACHINE = ("local_only",)  # arguments that say how to load, not what
_LOCAL, _PACKAGED = "./", "${package:"


def described(generator: Generator) -> dict[str, Any]:
    """What is needed to build a generator elsewhere, as JSON has it.

    A hub id stays as it is. A folder or file inside this package becomes ``${package:PATH}``. Every other one becomes
    ``./PATH``: relative to the working directory, or its name alone where it lies outside of that.

    Returns:
        ``name``, ``class_path`` and ``init_args``: the arguments that it was given.
    """
    kind, given = type(generator), generator.arguments
    name = generator.name
    for path in sorted(_paths(given), key=len, reverse=True):
        name = name.replace(path, Path(path).name)
    arguments = {key: _portable(value) for key, value in given.items() if key not in _OF_THE_MACHINE}
    return {"name": name, "class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": arguments}


def located(about: Mapping[str, Any], adapter: Path) -> dict[str, Any]:
    """Class and arguments that build a described generator on this machine.

    A local folder is looked for in the working directory, and then where the ``config.yaml`` of the adapter's own run,
    in the folder above, says that it is.

    Args:
        about: from ``described``.
        adapter: folder of the adapter that remembers it.

    Returns:
        ``class_path`` and ``init_args``.

    Raises:
        FileNotFoundError: if a local folder is not on this machine; with the flag that says where it is.
    """
    try:
        config = yaml.safe_load((adapter.parent / "config.yaml").read_text())
        there = config["model"]["init_args"]["generator"]["init_args"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        there = {}  # an adapter that travels alone has none
    arguments = {
        key: _here(value, there.get(key) if isinstance(there, dict) else None, key, adapter)
        for key, value in about["init_args"].items()
    }
    return {"class_path": about["class_path"], "init_args": arguments}


def _portable(value: Any) -> Any:
    """A value as JSON has it, paths in their portable form."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _portable(part) for key, part in value.items()}
    if isinstance(value, (str, Path)):
        return _portable_path(str(value)) if _is_path(str(value)) else str(value)
    if isinstance(value, Sequence):
        return [_portable(part) for part in value]
    return value


def _portable_path(path: str) -> str:
    whole = Path(os.path.abspath(path))  # symbolic links stay: what they are called is what was meant
    if whole.is_relative_to(PACKAGE):
        return f"{_PACKAGED}{whole.relative_to(PACKAGE)}}}"
    here = Path.cwd()
    return _LOCAL + str(whole.relative_to(here) if whole.is_relative_to(here) else whole.name)


def _is_path(value: str) -> bool:
    return os.path.isabs(value) or (os.sep in value and os.path.exists(value)) or value.startswith((".", "~"))


def _paths(value: Any) -> list[str]:
    """The paths among arguments, as they were given."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (str, Path)):
        return [str(value)] if _is_path(str(value)) else []
    return [path for part in value for path in _paths(part)] if isinstance(value, Sequence) else []


def _here(value: Any, there: Any, key: str, adapter: Path) -> Any:
    """A value with its paths as they are on this machine.

    Args:
        value: from ``described``.
        there: what the run's own configuration has in its place, if anything.
        key: dotted name of the argument.
        adapter: for the message.
    """
    if isinstance(value, dict):
        parts = there if isinstance(there, dict) else {}
        return {name: _here(part, parts.get(name), f"{key}.{name}", adapter) for name, part in value.items()}
    if not isinstance(value, str):
        return value
    if value.startswith(_PACKAGED):
        return str(PACKAGE / value.removeprefix(_PACKAGED).rstrip("}"))
    if not value.startswith(_LOCAL) or Path(value).exists():
        return value
    if isinstance(there, str) and Path(there).name == Path(value).name and Path(there).exists():
        return there
    raise FileNotFoundError(
        f"adapter {adapter}: trained with the local folder {value}, which is not on this machine; pass "
        f"--model.generator.{key}=PATH"
    )
