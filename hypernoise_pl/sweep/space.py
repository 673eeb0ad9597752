"""The dimensions of a sweep and their values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.sweep.values import format_value

if TYPE_CHECKING:
    from optuna.trial import Trial

Value = str | int | float | bool | None


@dataclass(frozen=True)
class Dimension:
    """A setting, or a group of settings, that a sweep varies.

    Args:
        name: dotted name of the setting, or name of the group.
        settings: value -> flags for a list of values; None for a range.
        low: lower end of a range.
        high: upper end of a range, included.
        step: step of a range; None for a continuous one.
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
        """Whether the dimension has a list of values."""
        return self.settings is not None

    @property
    def names(self) -> list[str]:
        """Dotted names that the dimension sets."""
        if self.settings is None:
            return [self.name]
        return list(dict.fromkeys(name for settings in self.settings.values() for name in settings))

    @property
    def integer(self) -> bool:
        """Whether a range holds integers only."""
        return isinstance(self.low, int) and isinstance(self.high, int) and isinstance(self.step, (int, type(None)))

    @property
    def values(self) -> list[Value] | None:
        """All values; None for a continuous range."""
        if self.settings is not None:
            return list(self.settings)
        if self.log or (self.step is None and not self.integer):
            return None
        step = 1 if self.step is None else self.step
        count = math.floor((self.high - self.low) / step + 1e-9) + 1
        values = (self.low + index * step for index in range(count))
        return [value if self.integer else round(value, 12) for value in values]

    def flags(self, value: Value) -> dict[str, Any]:
        """Dotted name -> value of the settings that a value of the dimension stands for."""
        return {self.name: value} if self.settings is None else dict(self.settings[value])

    def find_value(self, value: Any, where: str) -> Value:
        """Find the value of the dimension that equals ``value``, or whose settings do.

        Raises:
            ConfigError: if the dimension has no such value; the message begins with ``where``.
        """
        if self.settings is not None:
            for key, settings in self.settings.items():
                if value in (key, settings, settings.get(self.name, key)):
                    return key
            values = ", ".join(map(format_value, self.settings))
            raise ConfigError(f"{where}: {self.name} has no value {format_value(value)}; it has {values}")
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not self.low <= value <= self.high:
            raise ConfigError(f"{where}: {self.name} = {value!r} is not within {self.low:g} to {self.high:g}")
        return value

    def suggest(self, trial: Trial) -> Value:
        """The value that Optuna suggests for a trial."""
        if self.settings is not None:
            value: Value = trial.suggest_categorical(self.name, list(self.settings))
            return value
        if self.integer:
            step = 1 if self.step is None else int(self.step)
            return trial.suggest_int(self.name, int(self.low), int(self.high), step=step, log=self.log)
        return trial.suggest_float(self.name, float(self.low), float(self.high), step=self.step, log=self.log)

    def __str__(self) -> str:
        if self.settings is not None:
            values = [format_value(value) for value in self.settings]
            return f"{self.name}  {(' | ' if any(', ' in value for value in values) else ', ').join(values)}"
        step = "" if self.step is None else f", by {self.step:g}"
        return f"{self.name}  {self.low:g} to {self.high:g}{step}{', log' if self.log else ''}"


def grid_size(dimensions: Sequence[Dimension]) -> int:
    """Number of points of a grid; 0 if a dimension is continuous."""
    return math.prod(len(dimension.values or ()) for dimension in dimensions)


def grid_point(dimensions: Sequence[Dimension], number: int) -> dict[str, Value]:
    """The values of a grid's point; the last dimension varies fastest."""
    points = itertools.product(*(dimension.values or () for dimension in dimensions))
    values = next(itertools.islice(points, number, number + 1))
    return {dimension.name: value for dimension, value in zip(dimensions, values, strict=True)}


def point_settings(dimensions: Sequence[Dimension], point: Mapping[str, Value]) -> dict[str, Any]:
    """Dotted name -> value of all settings of a point."""
    return {name: value for dimension in dimensions for name, value in dimension.flags(point[dimension.name]).items()}
