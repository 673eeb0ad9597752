"""A generator's class and arguments in a form that is independent of the machine."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from hypernoise_pl.config.files import PACKAGE
from hypernoise_pl.generators.base import Generator

_MACHINE_ONLY = ("local_only",)  # arguments that are about this machine
_LOCAL_PREFIX, _PACKAGE_PREFIX = "./", "${package:"


def portable_description(generator: Generator) -> dict[str, Any]:
    """A JSON description from which another machine can build the same generator.

    A hub id stays as it is. A path inside this package becomes ``${package:PATH}``. Every other path becomes
    ``./PATH``: relative to the working directory, or its last name if it is outside.

    Returns:
        ``name``, ``class_path`` and ``init_args``, the arguments that the generator was built with.
    """
    cls, given = type(generator), generator.arguments
    name = generator.name
    for path in sorted(_paths(given), key=len, reverse=True):
        name = name.replace(path, Path(path).name)
    arguments = {key: _portable(value) for key, value in given.items() if key not in _MACHINE_ONLY}
    return {"name": name, "class_path": f"{cls.__module__}.{cls.__qualname__}", "init_args": arguments}


def local_description(description: Mapping[str, Any], adapter: Path) -> dict[str, Any]:
    """Class and arguments that build a described generator on this machine.

    A local path is looked up in the working directory, and then in the ``config.yaml`` of the adapter's run, in the
    folder above the adapter.

    Args:
        description: result of ``portable_description``.
        adapter: folder of the adapter that holds the description.

    Returns:
        ``class_path`` and ``init_args``.

    Raises:
        FileNotFoundError: if a local folder is not on this machine; the message names the flag that sets it.
    """
    try:
        config = yaml.safe_load((adapter.parent / "config.yaml").read_text())
        configured = config["model"]["init_args"]["generator"]["init_args"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        configured = {}  # an adapter may be without its run
    arguments = {
        key: _local(value, configured.get(key) if isinstance(configured, dict) else None, key, adapter)
        for key, value in description["init_args"].items()
    }
    return {"class_path": description["class_path"], "init_args": arguments}


def _portable(value: Any) -> Any:
    """A value as JSON, with paths in their portable form."""
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
    absolute = Path(os.path.abspath(path))  # symbolic links keep their own names
    if absolute.is_relative_to(PACKAGE):
        return f"{_PACKAGE_PREFIX}{absolute.relative_to(PACKAGE)}}}"
    here = Path.cwd()
    return _LOCAL_PREFIX + str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute.name)


def _is_path(value: str) -> bool:
    return os.path.isabs(value) or (os.sep in value and os.path.exists(value)) or value.startswith((".", "~"))


def _paths(value: Any) -> list[str]:
    """The paths in a value, in their original form."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (str, Path)):
        return [str(value)] if _is_path(str(value)) else []
    return [path for part in value for path in _paths(part)] if isinstance(value, Sequence) else []


def _local(value: Any, configured: Any, key: str, adapter: Path) -> Any:
    """A value of a description with its paths as they are on this machine.

    Args:
        value: value from ``portable_description``.
        configured: value of the same argument in the run's own configuration; None if it has none.
        key: dotted name of the argument.
        adapter: folder of the adapter, for the message.
    """
    if isinstance(value, dict):
        parts = configured if isinstance(configured, dict) else {}
        return {name: _local(part, parts.get(name), f"{key}.{name}", adapter) for name, part in value.items()}
    if not isinstance(value, str):
        return value
    if value.startswith(_PACKAGE_PREFIX):
        return str(PACKAGE / value.removeprefix(_PACKAGE_PREFIX).rstrip("}"))
    if not value.startswith(_LOCAL_PREFIX) or Path(value).exists():
        return value
    if isinstance(configured, str) and Path(configured).name == Path(value).name and Path(configured).exists():
        return configured
    raise FileNotFoundError(
        f"adapter {adapter}: trained with the local folder {value}, which is not on this machine; pass "
        f"--model.generator.{key}=PATH"
    )
