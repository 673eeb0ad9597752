"""What a sweep varies: dimensions, their values, and the flags of a point."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.types import did_you_mean

if TYPE_CHECKING:
    from optuna.trial import Trial

Value = str | int | float | bool | None


@dataclass(frozen=True)
class Dimension:
    """One thing that is varied.

    Args:
        name: dotted name of the configuration, or a group's name.
        settings: value -> flags, where there is a list of values; None for a range.
        low: of a range.
        high: of a range, itself included.
        step: of a range; None for a continuous one.
        log: whether a range is sampled on a log scale.
    """

    name: str
    settings: Mapping[Value, Mapping[str, Any]] | None = None
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False

    @property
    def listed(self) -> bool:
        """Whether it has a list of values."""
        return self.settings is not None

    @property
    def names(self) -> list[str]:
        """Dotted names that it sets."""
        if self.settings is None:
            return [self.name]
        return list(dict.fromkeys(name for settings in self.settings.values() for name in settings))

    @property
    def whole(self) -> bool:
        """Whether a range is of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int) and isinstance(self.step, (int, type(None)))

    @property
    def values(self) -> list[Value] | None:
        """All values; None of a continuous range."""
        if self.settings is not None:
            return list(self.settings)
        if self.log or (self.step is None and not self.whole):
            return None
        step = 1 if self.step is None else self.step
        count = math.floor((self.high - self.low) / step + 1e-9) + 1
        return [self.low + place * step if self.whole else round(self.low + place * step, 12) for place in range(count)]

    def flags(self, value: Value) -> dict[str, Any]:
        """Dotted names and values that a value stands for."""
        return {self.name: value} if self.settings is None else dict(self.settings[value])

    def holds(self, value: Any, where: str) -> Value:
        """One of its values, as Optuna keeps it.

        Raises:
            ConfigError: naming the place, if it is none.
        """
        if self.settings is not None:
            for key, settings in self.settings.items():
                if value in (key, settings, settings.get(self.name, key)):
                    return key
            raise ConfigError(
                f"{where}: {self.name} has no value {text(value)}; it has {', '.join(map(text, self.settings))}"
            )
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not self.low <= value <= self.high:
            raise ConfigError(f"{where}: {self.name} = {value!r} is not within {self.low:g} to {self.high:g}")
        return value

    def suggest(self, trial: Trial) -> Value:
        """The value of an Optuna trial."""
        if self.settings is not None:
            found: Value = trial.suggest_categorical(self.name, list(self.settings))
            return found
        if self.whole:
            step = 1 if self.step is None else int(self.step)
            return trial.suggest_int(self.name, int(self.low), int(self.high), step=step, log=self.log)
        return trial.suggest_float(self.name, float(self.low), float(self.high), step=self.step, log=self.log)

    def __str__(self) -> str:
        if self.settings is not None:
            values = [text(value) for value in self.settings]
            return f"{self.name}  {(' | ' if any(', ' in value for value in values) else ', ').join(values)}"
        step = "" if self.step is None else f", by {self.step:g}"
        return f"{self.name}  {self.low:g} to {self.high:g}{step}{', log' if self.log else ''}"


def of_parameters(parameters: Mapping[str, Any]) -> list[Dimension]:
    """A dimension for each dotted name.

    Raises:
        ConfigError: naming the parameter, and what is wrong with its values.
    """
    return [_dimension(str(name), values) for name, values in parameters.items()]


def of_groups(groups: Mapping[str, Any], parameters: Mapping[str, Any]) -> list[Dimension]:
    """A dimension for each group of settings that go together.

    Raises:
        ConfigError: naming the group, and what is wrong with it.
    """
    found = []
    for name, members in groups.items():
        where = f"groups.{name}"
        if name in parameters:
            raise ConfigError(f"{where}: a parameter has this name too; give it another")
        if not isinstance(members, list) or not all(isinstance(member, Mapping) and member for member in members):
            raise ConfigError(f"{where}: needs a list of mappings, each of dotted names to values")
        both = next((key for member in members for key in member if key in parameters), None)
        if both is not None:
            raise ConfigError(f"{where}: {both} is a parameter too; leave one out")
        labels = [", ".join(f"{key.rpartition('.')[2]}={text(value)}" for key, value in m.items()) for m in members]
        found.append(Dimension(str(name), _unlike(where, dict(zip(labels, members, strict=True)), len(members))))
    return found


def grid_size(dimensions: Sequence[Dimension]) -> int:
    """Points of a grid; 0 where a dimension is continuous."""
    return math.prod(len(each.values or ()) for each in dimensions)


def grid_point(dimensions: Sequence[Dimension], number: int) -> dict[str, Value]:
    """The values of a grid's point; the last dimension varies fastest."""
    values = itertools.islice(itertools.product(*(each.values or () for each in dimensions)), number, number + 1)
    return {each.name: value for each, value in zip(dimensions, next(values), strict=True)}


def flags_of(dimensions: Sequence[Dimension], point: Mapping[str, Value]) -> dict[str, Any]:
    """Dotted names and values of a point."""
    return {name: value for each in dimensions for name, value in each.flags(point[each.name]).items()}


def as_flags(settings: Mapping[str, Any]) -> list[str]:
    """Settings as a command line has them."""
    return [f"--{name}={text(value)}" for name, value in settings.items()]


def short(value: Any) -> str:
    """A value for a person: numbers to four digits."""
    return f"{value:.4g}" if isinstance(value, float) else text(value)


def labels(names: Iterable[str]) -> dict[str, str]:
    """Names of settings and figures by their last part, where it tells them apart."""
    every = list(names)
    last = [re.split("[./]", name)[-1] for name in every]
    return {name: part if last.count(part) == 1 else name for name, part in zip(every, last, strict=True)}


def words(values: Mapping[str, Any]) -> str:
    """Settings in a line, for a person."""
    called = labels(values)
    return ", ".join(f"{called[name]} {short(value)}" for name, value in values.items())


def text(value: Any) -> str:
    """A value as YAML in a line, as flags have it."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}" if float(f"{value:.6g}") == value else repr(value)
    return "null" if value is None else json.dumps(value)


def choice(value: str) -> Any:
    """A flag's text as a value of a sweep's file."""
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value


def _dimension(name: str, values: Any) -> Dimension:
    where = f"parameters.{name}"
    if isinstance(values, list):
        # Optuna keeps numbers, texts, booleans and None; of anything else its text
        keys = [value if isinstance(value, (str, int, float, bool, type(None))) else text(value) for value in values]
        return Dimension(name, _unlike(where, {k: {name: v} for k, v in zip(keys, values, strict=True)}, len(values)))
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: {values!r}; needs a list of values, or low and high of a range")
    for key in values:
        if key not in ("low", "high", "step", "log"):
            raise ConfigError(
                f"{where}: a range has no {key!r}{did_you_mean(str(key), ['low', 'high', 'step', 'log'])}"
            )
    for key in ("low", "high"):
        if key not in values:
            raise ConfigError(f"{where}: a range needs {key}")
    low, high, step, log = values["low"], values["high"], values.get("step"), values.get("log", False)
    for key, number in (("low", low), ("high", high), *([] if step is None else [("step", step)])):
        if not isinstance(number, (int, float)) or isinstance(number, bool) or not math.isfinite(number):
            raise ConfigError(f"{where}.{key}: {number!r} is no number{_exponent(number)}")
    if low >= high:
        raise ConfigError(f"{where}: low {low} is not below high {high}")
    if step is not None and step <= 0:
        raise ConfigError(f"{where}: step {step} is not above 0")
    if not isinstance(log, bool):
        raise ConfigError(f"{where}.log: {log!r}; needs true or false")
    if log and (low <= 0 or step is not None):
        raise ConfigError(f"{where}: a log range begins above 0 and has no step")
    return Dimension(name, None, low, high, step, log)


def _exponent(value: Any) -> str:
    """YAML takes 1e-3 for a text."""
    try:
        return f"; write {float(value)!r}" if isinstance(value, str) else ""
    except ValueError:
        return ""


def _unlike(where: str, found: dict[Any, Any], wanted: int) -> dict[Any, Any]:
    if not found:
        raise ConfigError(f"{where}: an empty list; give at least one value")
    if len(found) < wanted:
        raise ConfigError(f"{where}: a value is there twice; leave one out")
    return found
