"""The results of a sweep: its points, their figures over seeds, and the best points."""

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
from hypernoise_pl.sweep.plan import TRIALS
from hypernoise_pl.sweep.space import point_settings
from hypernoise_pl.sweep.study import POINT
from hypernoise_pl.sweep.validations import read_validations
from hypernoise_pl.sweep.values import as_flags

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
    """A point of a sweep with the results of its trial.

    Args:
        number: number of its folder.
        state: state of the trial, a value of ``STATES``.
        values: dimension -> value.
        curves: step -> figures of its validation, for each seed.
        folder: folder of its fits.
        seconds: duration of its fits.
        error: error of a failed trial; empty otherwise.
    """

    number: int
    state: str
    values: dict[str, Any]
    curves: list[dict[int, dict[str, float]]]
    folder: Path
    seconds: float
    error: str = ""

    def figures(self, name: str) -> list[float]:
        """A figure at the last validation of each seed that has been validated."""
        return [max(curve.items())[1][name] for curve in self.curves if curve]

    def mean(self, name: str) -> float | None:
        """The mean of a figure over seeds; None before the first validation."""
        values = self.figures(name)
        return fmean(values) if values else None


def read_points(study: Study, definition: Definition, folder: Path) -> list[Point]:
    """All started points, by number."""
    trials = [trial for trial in study.get_trials(deepcopy=False) if POINT in trial.user_attrs]
    return [_point(trial, definition, folder) for trial in sorted(trials, key=lambda trial: trial.user_attrs[POINT])]


def best_points(points: Sequence[Point], definition: Definition, study: Study) -> list[Point]:
    """The best complete point; with several objectives the complete points on the Pareto front."""
    complete = [point for point in points if point.state == "complete"]
    if not complete:
        return []
    if len(definition.objectives) == 1:
        [(name, direction)] = definition.objectives.items()
        ranked = sorted(complete, key=lambda point: point.mean(name) or 0.0, reverse=direction == "maximize")
        return ranked[:1]
    front = {trial.user_attrs.get(POINT) for trial in study.best_trials}
    return [point for point in complete if point.number in front]


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of a mean by Student's t distribution; None for a single value."""
    if len(values) < 2:
        return None
    freedom = len(values) - 1
    # beyond the table: first terms of the expansion around the normal quantile z (Abramowitz and Stegun 26.7.5)
    z = 1.959964
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    factor = _T[freedom - 1] if freedom <= len(_T) else z + first / freedom + second / freedom**2
    half = factor * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def fit_command(point: Point, definition: Definition, base: Path, seed: int | None = None) -> str:
    """The command that repeats a point's fit.

    Args:
        point: point to repeat.
        definition: definition of the sweep.
        base: file with the configuration that all trials share.
        seed: seed of the fit; None for the seed in ``base``.
    """
    flags = as_flags(point_settings(definition.dimensions, point.values))
    seed_flag = [] if seed is None else [f"--seed_everything={seed}"]
    return shlex.join(["python", "-m", "hypernoise_pl", "fit", "--config", str(base), *flags, *seed_flag])


def importance(study: Study, definition: Definition) -> dict[str, float]:
    """Dimension -> share of the objective's variance among good points, by PED-ANOVA (Watanabe et al. 2023).

    Empty if there are too few complete points, or several objectives.
    """
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    complete = [trial for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]
    if len(definition.objectives) > 1 or len(complete) < 4 or len({trial.value for trial in complete}) < 2:
        return {}
    try:
        return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(evaluate_on_local=False))
    except (RuntimeError, ValueError):  # too few points have distinct values
        return {}


def summarise(
    definition: Definition, points: Sequence[Point], study: Study, folder: Path, base: Path
) -> dict[str, Any]:
    """The contents of ``summary.json``."""
    best = best_points(points, definition, study)
    return {
        "name": definition.name,
        "description": definition.description,
        "objectives": definition.objectives,
        "points": definition.points,
        "seeds": definition.seeds,
        "finished": all(point.state not in ("running", "waiting") for point in points)
        and len(points) == definition.points,
        "best": [point.number for point in best],
        "commands": {point.number: fit_command(point, definition, base) for point in best},
        "importance": importance(study, definition),
        "trials": [_record(point, definition, folder) for point in points],
    }


def _record(point: Point, definition: Definition, folder: Path) -> dict[str, Any]:
    return {
        "number": point.number,
        "state": point.state,
        "values": point.values,
        "figures": {
            name: {
                "mean": point.mean(name),
                "interval": mean_interval(point.figures(name)),
                "seeds": point.figures(name),
            }
            for name in definition.objectives
        },
        "steps": [max(curve, default=0) for curve in point.curves],
        "seconds": point.seconds,
        "folder": str(point.folder.relative_to(folder)),
        "error": point.error or None,
    }


def _point(trial: FrozenTrial, definition: Definition, folder: Path) -> Point:
    number: int = trial.user_attrs[POINT]
    point_folder = folder / TRIALS / f"{number:04d}"
    return Point(
        number,
        STATES[trial.state],
        {axis.name: trial.params[axis.name] for axis in definition.dimensions if axis.name in trial.params},
        [read_validations(point_folder / f"seed-{seed}") for seed in range(definition.seeds)],
        point_folder,
        float(trial.user_attrs.get("seconds", 0.0)),
        str(trial.user_attrs.get("error", "")),
    )


def as_json(summary: Mapping[str, Any]) -> str:
    """The summary as JSON; NaN and infinities become null."""
    return json.dumps(_plain(summary), indent=1) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value
