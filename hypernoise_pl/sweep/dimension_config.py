"""Reads the keys ``parameters`` and ``groups`` of a sweep's file into dimensions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.sweep.space import Dimension
from hypernoise_pl.sweep.values import format_value
from hypernoise_pl.types import did_you_mean

_RANGE_KEYS = ["low", "high", "step", "log"]


def parameter_dimensions(parameters: Mapping[str, Any]) -> list[Dimension]:
    """One dimension for each dotted name.

    Raises:
        ConfigError: if the values of a parameter are wrong.
    """
    return [_parameter(str(name), values) for name, values in parameters.items()]


def group_dimensions(groups: Mapping[str, Any], parameters: Mapping[str, Any]) -> list[Dimension]:
    """One dimension for each group of settings that change together.

    Raises:
        ConfigError: if the members of a group are wrong.
    """
    dimensions = []
    for name, members in groups.items():
        where = f"groups.{name}"
        if name in parameters:
            raise ConfigError(f"{where}: a parameter has this name too; rename the group")
        if not isinstance(members, list) or not all(isinstance(member, Mapping) and member for member in members):
            raise ConfigError(f"{where}: needs a list of mappings, each of dotted names to values")
        shared = next((key for member in members for key in member if key in parameters), None)
        if shared is not None:
            raise ConfigError(f"{where}: {shared} is a parameter too; remove one of the two")
        settings = {_label(member): member for member in members}
        dimensions.append(Dimension(str(name), _check_distinct(where, settings, len(members))))
    return dimensions


def _label(member: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.rpartition('.')[2]}={format_value(value)}" for key, value in member.items())


def _parameter(name: str, values: Any) -> Dimension:
    where = f"parameters.{name}"
    if isinstance(values, list):
        # Optuna stores numbers, texts, booleans and None; every other value is stored as text
        plain = (str, int, float, bool, type(None))
        keys = [value if isinstance(value, plain) else format_value(value) for value in values]
        settings = {key: {name: value} for key, value in zip(keys, values, strict=True)}
        return Dimension(name, _check_distinct(where, settings, len(values)))
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: {values!r}; needs a list of values, or low and high of a range")
    return _range(name, values, where)


def _range(name: str, values: Mapping[str, Any], where: str) -> Dimension:
    for key in values:
        if key not in _RANGE_KEYS:
            raise ConfigError(f"{where}: a range has no key {key!r}{did_you_mean(str(key), _RANGE_KEYS)}")
    for key in ("low", "high"):
        if key not in values:
            raise ConfigError(f"{where}: a range needs {key}")
    low, high, step, log = values["low"], values["high"], values.get("step"), values.get("log", False)
    for key, number in (("low", low), ("high", high), *([] if step is None else [("step", step)])):
        if not isinstance(number, (int, float)) or isinstance(number, bool) or not math.isfinite(number):
            raise ConfigError(f"{where}.{key}: {number!r} is not a finite number{_exponent_hint(number)}")
    if low >= high:
        raise ConfigError(f"{where}: low {low} is not below high {high}")
    if step is not None and step <= 0:
        raise ConfigError(f"{where}: step {step} is not above 0")
    if not isinstance(log, bool):
        raise ConfigError(f"{where}.log: {log!r}; needs true or false")
    if log and (low <= 0 or step is not None):
        raise ConfigError(f"{where}: a log range needs low above 0 and no step")
    return Dimension(name, None, low, high, step, log)


def _exponent_hint(value: Any) -> str:
    """A hint for numbers such as 1e-3, which YAML reads as text."""
    try:
        return f"; write {float(value)!r}" if isinstance(value, str) else ""
    except ValueError:
        return ""


def _check_distinct(where: str, settings: dict[Any, Any], count: int) -> dict[Any, Any]:
    """The settings by value; an error if there are none, or fewer than the ``count`` listed values."""
    if not settings:
        raise ConfigError(f"{where}: an empty list; give at least one value")
    if len(settings) < count:
        raise ConfigError(f"{where}: duplicate value; remove it")
    return settings
