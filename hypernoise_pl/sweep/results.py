"""What a sweep has found: its points, their figures over seeds, the best of them."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from hypernoise_pl.sweep.definition import Definition
from hypernoise_pl.sweep.reporting import validations
from hypernoise_pl.sweep.space import as_flags, flags_of
from hypernoise_pl.sweep.study import POINT

SUMMARY = "summary.json"
STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
# quantiles of Student's t distribution for a two-sided 95 % interval, by degrees of freedom from 1
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


@dataclass(frozen=True)
class Point:
    """A trial.

    Args:
        number: of its folder.
        state: of ``STATES``.
        values: dimension -> value.
        curves: for each seed, step -> figures of the validation there.
        folder: of its fits.
        seconds: that its fits took.
        error: why it failed; empty if it did not.
    """

    number: int
    state: str
    values: dict[str, Any]
    curves: list[dict[int, dict[str, float]]]
    folder: Path
    seconds: float
    error: str = ""

    def figures(self, name: str) -> list[float]:
        """A figure at the last validation of each seed that has one."""
        return [max(curve.items())[1][name] for curve in self.curves if curve]

    def mean(self, name: str) -> float | None:
        """Its mean over seeds; None before a validation."""
        found = self.figures(name)
        return fmean(found) if found else None


def points(study: Study, definition: Definition, folder: Path) -> list[Point]:
    """Every point that was begun, by number."""
    trials = [each for each in study.get_trials(deepcopy=False) if POINT in each.user_attrs]
    return [_point(trial, definition, folder) for trial in sorted(trials, key=lambda each: each.user_attrs[POINT])]


def best(found: Sequence[Point], definition: Definition, study: Study) -> list[Point]:
    """The best complete point; of several objectives those that no other one is better than in all of them."""
    complete = [point for point in found if point.state == "complete"]
    if not complete:
        return []
    if len(definition.objectives) == 1:
        [(name, direction)] = definition.objectives.items()
        ranked = sorted(complete, key=lambda point: point.mean(name) or 0.0, reverse=direction == "maximize")
        return ranked[:1]
    front = {trial.user_attrs.get(POINT) for trial in study.best_trials}
    return [point for point in complete if point.number in front]


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of a mean by Student's t; None of a single value."""
    if len(values) < 2:
        return None
    freedom = len(values) - 1
    # beyond the table the first terms of its expansion around the normal's quantile z (Abramowitz, Stegun 26.7.5)
    z = 1.959964
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    factor = _T[freedom - 1] if freedom <= len(_T) else z + first / freedom + second / freedom**2
    half = factor * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def command_of(point: Point, definition: Definition, base: Path, seed: int | None = None) -> str:
    """The command that repeats a point's fit, with a seed or that of the base."""
    flags = as_flags(flags_of(definition.dimensions, point.values))
    own = [] if seed is None else [f"--seed_everything={seed}"]
    return shlex.join(["python", "-m", "hypernoise_pl", "fit", "--config", str(base), *flags, *own])


def importance(study: Study, definition: Definition) -> dict[str, float]:
    """Dimension -> share of the objective's variance among good points, by PED-ANOVA (Watanabe et al. 2023).

    Empty where there are too few points, or several objectives.
    """
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    complete = [each for each in study.get_trials(deepcopy=False) if each.state == TrialState.COMPLETE]
    if len(definition.objectives) > 1 or len(complete) < 4 or len({each.value for each in complete}) < 2:
        return {}
    try:
        return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(evaluate_on_local=False))
    except (RuntimeError, ValueError):  # too few of them differ
        return {}


def summary(definition: Definition, found: Sequence[Point], study: Study, folder: Path, base: Path) -> dict[str, Any]:
    """What ``summary.json`` holds."""
    chosen = best(found, definition, study)
    return {
        "name": definition.name,
        "description": definition.description,
        "objectives": definition.objectives,
        "points": definition.points,
        "seeds": definition.seeds,
        "finished": all(point.state not in ("running", "waiting") for point in found)
        and len(found) == definition.points,
        "best": [point.number for point in chosen],
        "commands": {point.number: command_of(point, definition, base) for point in chosen},
        "importance": importance(study, definition),
        "trials": [_record(point, definition, folder) for point in found],
    }


def _record(point: Point, definition: Definition, folder: Path) -> dict[str, Any]:
    return {
        "number": point.number,
        "state": point.state,
        "values": point.values,
        "figures": {
            name: {"mean": point.mean(name), "interval": interval(point.figures(name)), "seeds": point.figures(name)}
            for name in definition.objectives
        },
        "steps": [max(curve, default=0) for curve in point.curves],
        "seconds": point.seconds,
        "folder": str(point.folder.relative_to(folder)),
        "error": point.error or None,
    }


def _point(trial: FrozenTrial, definition: Definition, folder: Path) -> Point:
    number: int = trial.user_attrs[POINT]
    own = folder / "trials" / f"{number:04d}"
    return Point(
        number,
        STATES[trial.state],
        {each.name: trial.params[each.name] for each in definition.dimensions if each.name in trial.params},
        [validations(own / f"seed-{seed}") for seed in range(definition.seeds)],
        own,
        float(trial.user_attrs.get("seconds", 0.0)),
        str(trial.user_attrs.get("error", "")),
    )


def as_json(found: Mapping[str, Any]) -> str:
    """The summary as a file; what is not finite is null."""
    return json.dumps(_plain(found), indent=1) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value
