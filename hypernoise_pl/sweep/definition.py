"""The definition of a sweep: what it varies, what it optimises, and how many fits it may run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import yaml

from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.sweep.dimension_config import group_dimensions, parameter_dimensions
from hypernoise_pl.sweep.optuna_classes import OptunaChoice, check_one_of, choose_pruner, choose_sampler
from hypernoise_pl.sweep.space import Dimension, Value, grid_size
from hypernoise_pl.types import did_you_mean

DIRECTIONS = ("maximize", "minimize")
_LISTS, _MAPPINGS = ("config", "start"), ("set", "parameters", "groups", "objectives")
_BUDGET = ("trials", "hours", "retries", "description")  # keys that may change while a sweep runs


@dataclass
class Definition:
    """A sweep.

    Args:
        name: name of the study, and of its folder under ``runs/sweep``.
        description: purpose of the sweep, in one line.
        config: files or short names, as ``fit --config`` takes them.
        set: dotted name -> value of settings that all trials share.
        parameters: dotted name -> list of values, or ``{low, high, step, log}``.
        groups: name -> list of settings that change together, each a mapping of dotted names to values.
        objectives: logged figure -> ``maximize`` or ``minimize``; its value at the last validation counts.
        start: first points, each a mapping of every parameter and group to a value; a group's value is its settings.
        sampler: ``tpe``, ``random``, ``grid`` or ``cmaes``, alone or with Optuna's arguments for it.
        pruner: ``asha``, ``hyperband`` or ``none``, alone or with Optuna's arguments for it; its resource is the
            optimiser steps of all seeds together.
        prune_by: logged figure that decides on pruning, alone or with its direction; None for the objective.
        trials: number of points; None for all points of a grid.
        hours: wall time after which no trial starts; None for no limit.
        seeds: fits of a point, with the seeds 0, 1, ...; a point's figure is their mean.
        retries: number of times that a failed fit restarts from its checkpoint.

    Raises:
        ConfigError: if the value of a key is wrong.
    """

    name: str
    description: str = ""
    config: list[str] = field(default_factory=list)
    set: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    groups: dict[str, Any] = field(default_factory=dict)
    objectives: dict[str, str] = field(default_factory=lambda: {"validation/gain": "maximize"})
    start: list[dict[str, Any]] = field(default_factory=list)
    sampler: Any = "tpe"
    pruner: Any = "none"
    prune_by: Any = None
    trials: int | None = None
    hours: float | None = None
    seeds: int = 1
    retries: int = 1

    def __post_init__(self) -> None:
        for cls, word, keys in ((list, "list", _LISTS), (dict, "mapping", _MAPPINGS)):
            for key in keys:
                if not isinstance(getattr(self, key), cls):
                    raise ConfigError(f"{key}: needs a {word}")
        if not self.dimensions:
            raise ConfigError("parameters: none are given; give at least one, such as model.adapter.lora.rank: [8, 16]")
        if not self.objectives:
            raise ConfigError("objectives: none is given; give one, such as validation/gain: maximize")
        for figure, direction in self.objectives.items():
            check_one_of(f"objectives.{figure}", direction, DIRECTIONS)
        self.sampler_choice, self.pruner_choice  # noqa: B018  each property checks its key
        for key, minimum in (("seeds", 1), ("retries", 0)):
            _check_integer(key, getattr(self, key), minimum)
        if self.trials is None and self.sampler_choice.name != "grid":
            raise ConfigError(f"trials: missing; give the number of trials, {self.sampler_choice.name} has no end")
        if self.trials is not None:
            _check_integer("trials", self.trials, 1)
        if self.hours is not None and (not isinstance(self.hours, (int, float)) or self.hours <= 0):
            raise ConfigError(f"hours: {self.hours!r}; needs a number above 0")
        self.first_points  # noqa: B018  the property checks its key
        self._check_combinations()

    def _check_combinations(self) -> None:
        if self.sampler_choice.name == "grid":
            for dimension in self.dimensions:
                if dimension.values is None:
                    raise ConfigError(
                        f"parameters.{dimension.name}: a grid needs a list of values, or a range with a step"
                    )
            if self.start:
                raise ConfigError("start: a grid starts at its first point; remove the key")
        if self.sampler_choice.name == "cmaes":
            listed = [dimension.name for dimension in self.dimensions if dimension.listed]
            if listed:
                raise ConfigError(f"sampler: cmaes takes ranges only, and {listed[0]} is a list; use tpe")
        if self.pruner_choice.name != "none":
            if len(self.objectives) > 1:
                raise ConfigError("pruner: Optuna prunes a single objective only; set pruner: none, or one objective")
            self.pruning  # noqa: B018  the property checks its key
        elif self.prune_by is not None:
            raise ConfigError("prune_by: there is no pruner; set pruner: asha")

    @property
    def dimensions(self) -> list[Dimension]:
        """All dimensions: those of the parameters, then those of the groups."""
        return [*parameter_dimensions(self.parameters), *group_dimensions(self.groups, self.parameters)]

    @property
    def first_points(self) -> list[dict[str, Value]]:
        """The points of ``start``: dimension -> value."""
        points = []
        names = [dimension.name for dimension in self.dimensions]
        for index, point in enumerate(self.start):
            where = f"start[{index}]"
            if not isinstance(point, Mapping):
                raise ConfigError(f"{where}: needs a mapping of every parameter and group to a value")
            for name in point:
                if name not in names:
                    raise ConfigError(f"{where}: {name!r} is not varied{did_you_mean(str(name), names)}")
            for name in names:
                if name not in point:
                    raise ConfigError(f"{where}: {name} is missing; give every parameter and group a value")
            points.append({axis.name: axis.find_value(point[axis.name], where) for axis in self.dimensions})
        return points

    @property
    def points(self) -> int:
        """Number of points."""
        if self.sampler_choice.name != "grid":
            assert self.trials is not None
            return self.trials
        size = grid_size(self.dimensions)
        return size if self.trials is None else min(size, self.trials)

    @property
    def sampler_choice(self) -> OptunaChoice:
        """The sampler's short name and its arguments."""
        return choose_sampler(self.sampler)

    @property
    def pruner_choice(self) -> OptunaChoice:
        """The pruner's short name and its arguments."""
        return choose_pruner(self.pruner)

    @property
    def pruning(self) -> tuple[str, float]:
        """The figure that decides on pruning, and its sign: 1 if it has the objective's direction, else -1."""
        [(objective, objective_direction)] = self.objectives.items()
        figure, direction = objective, objective_direction
        if isinstance(self.prune_by, str):
            figure = self.prune_by
        elif isinstance(self.prune_by, Mapping) and len(self.prune_by) == 1:
            [(figure, direction)] = self.prune_by.items()
            check_one_of(f"prune_by.{figure}", direction, DIRECTIONS)
        elif self.prune_by is not None:
            raise ConfigError("prune_by: needs a figure, such as validation/gain, or {validation/gain: maximize}")
        return str(figure), 1.0 if direction == objective_direction else -1.0

    @property
    def figures(self) -> list[str]:
        """All logged figures that the sweep reads."""
        pruning = [self.pruning[0]] if self.pruner_choice.name != "none" else []
        return list(dict.fromkeys([*self.objectives, *pruning]))

    def as_yaml(self) -> str:
        """The definition as a file that ``sweep`` reads."""
        return yaml.safe_dump(asdict(self), sort_keys=False, width=120)

    def fixed(self) -> dict[str, Any]:
        """All keys that may not change while a sweep runs: all but its budget and description."""
        return {key: value for key, value in asdict(self).items() if key not in _BUDGET}


def _check_integer(key: str, value: Any, minimum: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise ConfigError(f"{key}: {value!r}; needs a whole number of at least {minimum}")
