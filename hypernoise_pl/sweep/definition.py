"""A sweep's YAML file: what is varied, what is wanted, and how many fits it may take."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from hypernoise_pl.cli.command_table import PROGRAM
from hypernoise_pl.config.files import SWEEPS, conf_folder, sweep_names
from hypernoise_pl.config.loading import read_mapping
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.sweep.space import Dimension, Value, choice, grid_size, of_groups, of_parameters
from hypernoise_pl.types import did_you_mean

DIRECTIONS = ("maximize", "minimize")
SAMPLERS = {
    "tpe": "TPESampler",
    "random": "RandomSampler",
    "grid": "",  # point by point, in order: no sampler of Optuna's is needed
    "cmaes": "CmaEsSampler",
}
PRUNERS = {"none": "NopPruner", "asha": "SuccessiveHalvingPruner", "hyperband": "HyperbandPruner"}


@dataclass
class Definition:
    """A sweep.

    Args:
        name: of the study, and of its folder under ``runs/sweep``.
        description: purpose of the sweep, in a line.
        config: files or short names, as ``fit --config`` takes them.
        set: dotted name -> value of every trial alike.
        parameters: dotted name -> list of values, or ``{low, high, step, log}``.
        groups: name -> list of settings that go together, each a mapping of dotted names to values.
        objectives: logged figure -> ``maximize`` or ``minimize``; its value at the last validation counts.
        start: points to begin with, each a mapping of every parameter and group to a value; a group's is its settings.
        sampler: ``tpe``, ``random``, ``grid`` or ``cmaes``, alone or with Optuna's arguments for it.
        pruner: ``asha``, ``hyperband`` or ``none``, alone or with Optuna's arguments for it; its resource is the
            optimiser steps of all seeds together.
        prune_by: logged figure that decides on pruning, alone or with its direction; None for the objective.
        trials: points; for a grid all of them if left out.
        hours: wall time after which no trial begins; None for no limit.
        seeds: fits of a point, with the seeds 0, 1, ...; a point's figure is their mean.
        retries: times that a fit that failed is started again, from its checkpoint.

    Raises:
        ConfigError: naming the key that is wrong.
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
        for key, kind in (
            ("config", list),
            ("start", list),
            ("set", dict),
            ("parameters", dict),
            ("groups", dict),
            ("objectives", dict),
        ):
            if not isinstance(getattr(self, key), kind):
                raise ConfigError(f"{key}: needs a {'list' if kind is list else 'mapping'}")
        if not self.dimensions:
            raise ConfigError("parameters: none are given; name at least one, as model.adapter.lora.rank: [8, 16]")
        if not self.objectives:
            raise ConfigError("objectives: none is given; for example validation/gain: maximize")
        for figure, direction in self.objectives.items():
            _one_of(f"objectives.{figure}", direction, DIRECTIONS)
        self.sampler_arguments, self.pruner_arguments  # noqa: B018  each checks itself
        for key, least in (("seeds", 1), ("retries", 0)):
            _whole(key, getattr(self, key), least)
        if self.trials is None and self.sampler_name != "grid":
            raise ConfigError(f"trials: how many? {self.sampler_name} has no end of its own; only a grid has")
        if self.trials is not None:
            _whole("trials", self.trials, 1)
        if self.hours is not None and (not isinstance(self.hours, (int, float)) or self.hours <= 0):
            raise ConfigError(f"hours: {self.hours!r}; needs a number above 0")
        self.first_points  # noqa: B018  it checks itself
        self._check_combinations()

    def _check_combinations(self) -> None:
        if self.sampler_name == "grid":
            for each in self.dimensions:
                if each.values is None:
                    raise ConfigError(f"parameters.{each.name}: a grid needs a list of values, or a range with a step")
            if self.start:
                raise ConfigError("start: a grid begins at its first point; leave it out")
        if self.sampler_name == "cmaes":
            listed = [each.name for each in self.dimensions if each.listed]
            if listed:
                raise ConfigError(f"sampler: cmaes takes ranges alone, and {listed[0]} is a list; use tpe")
        if self.pruner_name != "none" and len(self.objectives) > 1:
            raise ConfigError("pruner: Optuna prunes for one objective alone; set pruner: none, or leave one objective")
        if self.prune_by is not None and self.pruner_name == "none":
            raise ConfigError("prune_by: there is no pruner; set pruner: asha")
        if self.pruner_name != "none":
            self.pruning  # noqa: B018  it checks itself

    @property
    def dimensions(self) -> list[Dimension]:
        """What is varied."""
        return [*of_parameters(self.parameters), *of_groups(self.groups, self.parameters)]

    @property
    def first_points(self) -> list[dict[str, Value]]:
        """The points to begin with: dimension -> value."""
        found = []
        for place, point in enumerate(self.start):
            where = f"start[{place}]"
            if not isinstance(point, Mapping):
                raise ConfigError(f"{where}: needs a mapping of every parameter and group to a value")
            names = [each.name for each in self.dimensions]
            for name in point:
                if name not in names:
                    raise ConfigError(f"{where}: {name!r} is not varied{did_you_mean(str(name), names)}")
            for name in names:
                if name not in point:
                    raise ConfigError(f"{where}: {name} is missing; give every parameter and group a value")
            found.append({each.name: each.holds(point[each.name], where) for each in self.dimensions})
        return found

    @property
    def points(self) -> int:
        """Points in all."""
        if self.sampler_name != "grid":
            assert self.trials is not None
            return self.trials
        size = grid_size(self.dimensions)
        return size if self.trials is None else min(size, self.trials)

    @property
    def sampler_name(self) -> str:
        """Of ``SAMPLERS``."""
        return _choice("sampler", self.sampler, SAMPLERS)[0]

    @property
    def sampler_arguments(self) -> dict[str, Any]:
        """What is given to Optuna's sampler."""
        name, arguments = _choice("sampler", self.sampler, SAMPLERS)
        return _checked(f"sampler.{name}", arguments, f"optuna.samplers.{SAMPLERS[name]}") if SAMPLERS[name] else {}

    @property
    def pruner_name(self) -> str:
        """Of ``PRUNERS``."""
        return _choice("pruner", self.pruner, PRUNERS)[0]

    @property
    def pruner_arguments(self) -> dict[str, Any]:
        """What is given to Optuna's pruner."""
        name, arguments = _choice("pruner", self.pruner, PRUNERS)
        return _checked(f"pruner.{name}", arguments, f"optuna.pruners.{PRUNERS[name]}")

    @property
    def pruning(self) -> tuple[str, float]:
        """The figure that decides on pruning, and the sign by which it goes the objective's way."""
        [(objective, wanted)] = self.objectives.items()
        figure, direction = objective, wanted
        if isinstance(self.prune_by, str):
            figure = self.prune_by
        elif isinstance(self.prune_by, Mapping) and len(self.prune_by) == 1:
            [(figure, direction)] = self.prune_by.items()
            _one_of(f"prune_by.{figure}", direction, DIRECTIONS)
        elif self.prune_by is not None:
            raise ConfigError("prune_by: needs a figure, as validation/gain, or {validation/gain: maximize}")
        return str(figure), 1.0 if direction == wanted else -1.0

    @property
    def figures(self) -> list[str]:
        """Every logged figure that the sweep needs."""
        return list(dict.fromkeys([*self.objectives, *([self.pruning[0]] if self.pruner_name != "none" else [])]))

    def as_yaml(self) -> str:
        """A file that ``sweep`` reads."""
        return yaml.safe_dump(asdict(self), sort_keys=False, width=120)

    def fixed(self) -> dict[str, Any]:
        """All that may not change while a sweep goes on; its budget may."""
        return {
            key: value
            for key, value in asdict(self).items()
            if key not in ("trials", "hours", "retries", "description")
        }


def find_sweep(name: str) -> Path:
    """A file by its path, or by its short name in ``conf/sweeps``.

    Raises:
        ConfigError: if there is none.
    """
    short = name.removeprefix(f"{SWEEPS}/").removesuffix(".yaml")
    for path in (Path(name), conf_folder() / SWEEPS / f"{short}.yaml"):
        if path.is_file():
            return path
    if Path(name).is_dir():
        raise ConfigError(f"sweep {name}: a folder; give a YAML file, such as {name}/sweep.yaml")
    hint = did_you_mean(short, sweep_names()) or f"; there is {', '.join(sweep_names())}, or give a file"
    raise ConfigError(f"sweep {name}: no such file{hint}")


def read_definition(name: str, flags: Sequence[tuple[str, str]] = ()) -> Definition:
    """A sweep's file, with flags of the command line among what is set in every trial.

    Args:
        name: path or short name.
        flags: dotted name and value of each.

    Raises:
        ConfigError: naming the file and the key that is wrong.
    """
    path = find_sweep(name)
    try:
        loaded = {"name": path.stem, **read_mapping(path)}
        known = [each.name for each in fields(Definition)]
        for key in loaded:
            if key not in known:
                whole = did_you_mean(key, known) or f"; a sweep has {', '.join(known[1:])}"
                raise ConfigError(f"no key is called {key!r}{whole}")
        if isinstance(loaded.get("set", {}), dict):
            loaded["set"] = {**loaded.get("set", {}), **{flag: choice(value) for flag, value in flags}}
        definition = Definition(**loaded)
    except ConfigError as error:
        raise ConfigError(f"sweep {path}: {error}") from None
    twice = next((name for name in definition.set if any(name in each.names for each in definition.dimensions)), None)
    if twice is not None:
        raise ConfigError(
            f"sweep {path}: {twice} is set for every trial and varied; leave one out; {PROGRAM} sweep --help"
        )
    return definition


def _choice(key: str, value: Any, known: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """A name, alone or with arguments."""
    if isinstance(value, Mapping) and len(value) == 1:
        [(name, arguments)] = value.items()
        arguments = arguments or {}
        if not isinstance(arguments, Mapping):
            raise ConfigError(f"{key}.{name}: needs names and values")
    else:
        name, arguments = value, {}
    _one_of(key, name, known)
    return str(name), dict(arguments)


def _checked(key: str, arguments: dict[str, Any], path: str) -> dict[str, Any]:
    """Arguments that a class of Optuna's takes."""
    import importlib

    module, _, name = path.rpartition(".")
    taken = list(inspect.signature(getattr(importlib.import_module(module), name)).parameters)
    for argument in arguments:
        if argument not in taken:
            raise ConfigError(f"{key}: {name} takes no {argument!r}{did_you_mean(argument, taken)}")
    return arguments


def _one_of(key: str, value: Any, known: Sequence[str] | Mapping[str, str]) -> None:
    if not isinstance(value, str) or value not in known:
        raise ConfigError(f"{key}: {value!r}; it is one of {', '.join(known)}{did_you_mean(str(value), list(known))}")


def _whole(key: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{key}: {value!r}; needs a whole number of at least {least}")
