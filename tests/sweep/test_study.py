"""Optuna's study of a sweep: what is chosen, and what is pruned."""

import threading

import optuna
import pytest

from hypernoise_pl.sweep.definition import Definition
from hypernoise_pl.sweep.space import grid_point
from hypernoise_pl.sweep.study import find_trial, open_storage, open_study, pruner_of, start_trial

RANGES = {"x": {"low": 0.0, "high": 1.0}, "y": {"low": 1e-3, "high": 1.0, "log": True}}


def definition(**changes):
    return Definition(
        **{"name": "mine", "parameters": RANGES, "objectives": {"loss": "minimize"}, "trials": 30} | changes
    )


def point(study, wanted, number):
    trial = start_trial(study, wanted, number)
    return trial, {each.name: each.suggest(trial) for each in wanted.dimensions}


@pytest.mark.parametrize("sampler", ["random", "tpe", "cmaes"])
def test_suggested_point_depends_on_its_number_and_earlier_results_only(tmp_path, sampler):
    wanted = definition(sampler={sampler: {"seed": 3, **({"n_startup_trials": 2} if sampler != "random" else {})}})
    runs = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        study, found = open_study(wanted, open_storage(folder, None)), []
        for number in range(6):
            trial, values = point(study, wanted, number)
            study.tell(trial, (values["x"] - 0.3) ** 2 + values["y"])
            found.append(tuple(values.values()))
        runs.append(found)
    assert runs[0] == runs[1] and len(set(runs[0])) == 6


def test_workers_that_start_together_get_different_points(tmp_path):
    wanted = definition(sampler={"random": {"seed": 0}})
    found, gate = [], threading.Barrier(4)
    open_study(wanted, open_storage(tmp_path, None))

    def begin(number):
        study = open_study(wanted, open_storage(tmp_path, None))
        gate.wait()
        found.append(tuple(point(study, wanted, number)[1].values()))

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 4


def test_continued_point_has_the_same_trial_and_values(tmp_path):
    wanted = definition()
    first = point(open_study(wanted, open_storage(tmp_path, None)), wanted, 5)
    study = open_study(wanted, open_storage(tmp_path, None))
    again = point(study, wanted, 5)
    assert again[0]._trial_id == first[0]._trial_id and again[1] == first[1]
    assert len(study.trials) == 1 and find_trial(study, 4) is None


def test_tpe_finds_a_lower_minimum_than_random_sampling(tmp_path):
    best = {}
    for sampler in ("random", "tpe"):
        wanted, folder = definition(sampler={sampler: {"seed": 1}}), tmp_path / sampler
        folder.mkdir()
        study = open_study(wanted, open_storage(folder, None))
        for number in range(30):
            trial, values = point(study, wanted, number)
            study.tell(trial, (values["x"] - 0.3) ** 2 + values["y"])
        best[sampler] = study.best_value
    assert best["tpe"] < best["random"]


def test_grid_points_come_in_order(tmp_path):
    wanted = definition(parameters={"x": [1, 2], "y": ["a", None]}, sampler="grid", trials=None)
    study = open_study(wanted, open_storage(tmp_path, None))
    found = [point(study, wanted, number)[1] for number in range(wanted.points)]
    assert found == [{"x": x, "y": y} for x in (1, 2) for y in ("a", None)]
    assert found[3] == grid_point(wanted.dimensions, 3)


def test_start_points_come_first(tmp_path):
    wanted = definition(start=[{"x": 0.25, "y": 0.5}])
    study = open_study(wanted, open_storage(tmp_path, None))
    assert point(study, wanted, 0)[1] == {"x": 0.25, "y": 0.5}
    assert point(study, wanted, 1)[1] != {"x": 0.25, "y": 0.5}


def survivors(wanted, folder, values, steps):
    """The points that a pruner lets reach the last step, where point i has the figure ``values[i]`` at every step."""
    folder.mkdir()
    study, last = open_study(wanted, open_storage(folder, None)), []
    for number, value in enumerate(values):
        trial, _ = point(study, wanted, number)
        study.pruner = pruner_of(wanted, steps[-1])
        for step in steps:
            trial.report(value, step)
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, value)
            last.append(number)
    return last


def test_asha_keeps_the_better_half_at_each_rung(tmp_path):
    wanted = definition(pruner={"asha": {"min_resource": 100, "reduction_factor": 2}})
    worse = [float(value) for value in range(8)]
    assert survivors(wanted, tmp_path / "a", worse, [100, 200, 400]) == [0]
    assert survivors(wanted, tmp_path / "b", worse[::-1], [100, 200, 400]) == list(range(8))
    other = definition(objectives={"gain": "maximize"}, pruner={"asha": {"min_resource": 100, "reduction_factor": 2}})
    assert survivors(other, tmp_path / "c", worse[::-1], [100, 200, 400]) == [0]


def test_hyperband_prunes_some_points_but_not_the_best(tmp_path):
    wanted = definition(pruner={"hyperband": {"min_resource": 100}})
    found = survivors(wanted, tmp_path / "a", [float(value) for value in range(12)], [100, 200, 400, 800, 900])
    assert 0 in found and len(found) < 12
