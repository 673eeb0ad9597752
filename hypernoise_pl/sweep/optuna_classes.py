"""Optuna's samplers and pruners, and the choice of one in a sweep's file."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.types import did_you_mean

SAMPLERS = {
    "tpe": "TPESampler",
    "random": "RandomSampler",
    "grid": "",  # the points in order; Optuna's sampler is not used
    "cmaes": "CmaEsSampler",
}
PRUNERS = {"none": "NopPruner", "asha": "SuccessiveHalvingPruner", "hyperband": "HyperbandPruner"}


@dataclass(frozen=True)
class OptunaChoice:
    """A sampler or pruner by its short name.

    Args:
        name: key of ``SAMPLERS`` or ``PRUNERS``.
        arguments: arguments of Optuna's class.
    """

    name: str
    arguments: dict[str, Any]


def choose_sampler(value: Any) -> OptunaChoice:
    """The sampler of a sweep's key ``sampler``: a name, or a mapping of one name to arguments.

    Raises:
        ConfigError: if there is no such sampler, or it has no such argument.
    """
    return _choose("sampler", value, SAMPLERS, "optuna.samplers")


def choose_pruner(value: Any) -> OptunaChoice:
    """The pruner of a sweep's key ``pruner``: a name, or a mapping of one name to arguments.

    Raises:
        ConfigError: if there is no such pruner, or it has no such argument.
    """
    return _choose("pruner", value, PRUNERS, "optuna.pruners")


def check_one_of(key: str, value: Any, known: Sequence[str] | Mapping[str, str]) -> None:
    """Raise ``ConfigError`` if the value of a key is not one of the known names."""
    if not isinstance(value, str) or value not in known:
        raise ConfigError(f"{key}: {value!r}; it is one of {', '.join(known)}{did_you_mean(str(value), list(known))}")


def _choose(key: str, value: Any, known: Mapping[str, str], module: str) -> OptunaChoice:
    name: Any = value
    arguments: Any = {}
    if isinstance(value, Mapping) and len(value) == 1:
        [(name, arguments)] = value.items()
        arguments = arguments or {}
        if not isinstance(arguments, Mapping):
            raise ConfigError(f"{key}.{name}: needs a mapping of argument names to values")
    check_one_of(key, name, known)
    if not known[name]:
        return OptunaChoice(name, {})
    parameters = list(inspect.signature(getattr(importlib.import_module(module), known[name])).parameters)
    for argument in arguments:
        if argument not in parameters:
            raise ConfigError(f"{key}.{name}: {known[name]} takes no {argument!r}{did_you_mean(argument, parameters)}")
    return OptunaChoice(name, dict(arguments))
