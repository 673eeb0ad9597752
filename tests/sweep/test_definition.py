"""A sweep's file: what it may say, and what is refused before anything runs."""

import json
from pathlib import Path

import pytest
import yaml

from hypernoise_pl.__main__ import main
from hypernoise_pl.config.files import sweep_names
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.sweep.definition_file import read_definition
from hypernoise_pl.sweep.devices import worker_environments
from hypernoise_pl.sweep.space import grid_point, point_settings
from hypernoise_pl.sweep.values import as_flags

pytestmark = pytest.mark.usefixtures("own_folder")

RIGHT = {
    "parameters": {"model.adapter.lora.rank": [8, 16], "model.optimizer.lr": {"low": 1e-4, "high": 1e-2, "log": True}},
    "trials": 4,
}


def written(**changes: object) -> str:
    Path("mine.yaml").write_text(yaml.safe_dump({**RIGHT, **changes}, sort_keys=False))
    return "mine.yaml"


def test_point_of_a_grid_gives_flags_of_fit():
    groups = {
        "size": [
            {"model.adapter.lora.rank": 8, "model.adapter.lora.alpha": 16.0},
            {"model.adapter.lora.rank": 32, "model.adapter.lora.alpha": 64.0},
        ]
    }
    parameters = {
        "model.objective.reward_scale": [10, 20.5],
        "judge": [None],
        "model.adapter.lora.targets": [["a", "b"]],
    }
    definition = read_definition(written(parameters=parameters, groups=groups, sampler="grid", trials=None))
    assert definition.points == 4
    flags = [
        as_flags(point_settings(definition.dimensions, grid_point(definition.dimensions, place))) for place in range(4)
    ]
    fixed = ["--judge=null", '--model.adapter.lora.targets=["a", "b"]']
    assert flags[1] == [
        "--model.objective.reward_scale=10",
        *fixed,
        "--model.adapter.lora.rank=32",
        "--model.adapter.lora.alpha=64",
    ]
    assert flags[2] == [
        "--model.objective.reward_scale=20.5",
        *fixed,
        "--model.adapter.lora.rank=8",
        "--model.adapter.lora.alpha=16",
    ]
    assert len({tuple(each) for each in flags}) == 4


def test_ranges_of_a_grid_include_both_ends():
    parameters = {
        "a": {"low": 1, "high": 4},
        "b": {"low": 0.1, "high": 0.5, "step": 0.2},
        "c": {"low": 2, "high": 9, "step": 3},
    }
    definition = read_definition(written(parameters=parameters, sampler="grid", trials=None))
    assert [each.values for each in definition.dimensions] == [[1, 2, 3, 4], [0.1, 0.3, 0.5], [2, 5, 8]]
    assert definition.points == 36


def test_flags_of_the_command_line_are_set_in_every_trial():
    definition = read_definition(written(set={"trainer.max_steps": 5}), [("trainer.max_steps", "7"), ("judge", "null")])
    assert definition.set == {"trainer.max_steps": 7, "judge": None}
    again = yaml.safe_load(definition.as_yaml())
    assert type(definition)(**again) == definition


def test_first_points_are_read_from_the_file():
    start = [{"model.adapter.lora.rank": 16, "model.optimizer.lr": 1e-3}]
    assert read_definition(written(start=start)).first_points == start


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"paramters": {}}, "no key is called 'paramters' (did you mean 'parameters'?)"),
        ({"parameters": {}}, "parameters: none are given"),
        (
            {"parameters": {"model.adapter.lora.rank": 8}},
            "parameters.model.adapter.lora.rank: 8; needs a list of values, or low and high",
        ),
        ({"parameters": {"model.adapter.lora.rank": []}}, "parameters.model.adapter.lora.rank: an empty list"),
        (
            {"parameters": {"model.adapter.lora.rank": [8, 8]}},
            "parameters.model.adapter.lora.rank: duplicate value",
        ),
        (
            {"parameters": {"model.adapter.lora.rank": {"low": 8}}},
            "parameters.model.adapter.lora.rank: a range needs high",
        ),
        (
            {"parameters": {"model.adapter.lora.rank": {"low": 8, "hihg": 9}}},
            "a range has no key 'hihg' (did you mean 'high'?)",
        ),
        ({"parameters": {"model.adapter.lora.rank": {"low": 9, "high": 8}}}, "low 9 is not below high 8"),
        ({"parameters": {"a": {"low": 0, "high": 8, "log": True}}}, "parameters.a: a log range needs low above 0"),
        ({"parameters": {"a": {"low": "1e-3x", "high": 8}}}, "parameters.a.low: '1e-3x' is not a finite number"),
        ({"groups": {"a": {"x": 1}}}, "groups.a: needs a list of mappings"),
        ({"groups": {"a": [{"model.adapter.lora.rank": 1}]}}, "groups.a: model.adapter.lora.rank is a parameter too"),
        ({"set": {"model.adapter.lora.rank": 8}}, "model.adapter.lora.rank is set for every trial and varied"),
        ({"objectives": {"validation/gain": "maximise"}}, "objectives.validation/gain: 'maximise'; it is one of"),
        ({"sampler": "tpee"}, "sampler: 'tpee'; it is one of tpe, random, grid, cmaes (did you mean 'tpe'?)"),
        ({"sampler": {"tpe": {"sed": 1}}}, "sampler.tpe: TPESampler takes no 'sed' (did you mean 'seed'?)"),
        ({"sampler": "grid"}, "parameters.model.optimizer.lr: a grid needs a list of values, or a range with a step"),
        ({"sampler": "cmaes"}, "sampler: cmaes takes ranges only, and model.adapter.lora.rank is a list"),
        ({"pruner": "ashaa"}, "pruner: 'ashaa'; it is one of none, asha, hyperband"),
        ({"pruner": {"asha": {"min_resources": 1}}}, "takes no 'min_resources' (did you mean 'min_resource'?)"),
        ({"pruner": "asha", "objectives": {"a": "minimize", "b": "minimize"}}, "prunes a single objective only"),
        ({"prune_by": "validation/gain"}, "prune_by: there is no pruner"),
        ({"trials": None}, "trials: missing"),
        ({"trials": 0}, "trials: 0; needs a whole number of at least 1"),
        ({"seeds": 1.5}, "seeds: 1.5; needs a whole number of at least 1"),
        ({"hours": -1}, "hours: -1; needs a number above 0"),
        ({"start": [{"model.adapter.lora.rank": 8}]}, "start[0]: model.optimizer.lr is missing"),
        (
            {"start": [{"model.adapter.lora.rank": 9, "model.optimizer.lr": 1e-3}]},
            "start[0]: model.adapter.lora.rank has no value 9",
        ),
        (
            {"start": [{"model.adapter.lora.rank": 8, "model.optimizer.lr": 1.0}]},
            "model.optimizer.lr = 1.0 is not within",
        ),
    ],
)
def test_wrong_file_raises_a_one_line_error(changes, said):
    with pytest.raises(ConfigError, match=r"sweep mine\.yaml") as refused:
        read_definition(written(**changes))
    assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "arguments", "said"),
    [
        (
            {"parameters": {"model.adapter.lora.rnak": [8]}},
            [],
            "--model.adapter.lora.rnak: model.adapter.lora: no key is called 'rnak' (did you mean 'rank'?)",
        ),
        ({"parameters": {"modle.lora.rank": [8]}}, [], "--modle: no such flag or key (did you mean '--model'?)"),
        (
            {"parameters": {"model.adapter.lora.rank": [8, "big"]}},
            [],
            "--model.adapter.lora.rank: got 'big'; give a whole number",
        ),
        ({"set": {"trainer.max_step": 5}}, [], "trainer: no key is called 'max_step' (did you mean 'max_steps'?)"),
        (
            {"objectives": {"validation/gian": "maximize"}},
            [],
            "logs 'validation/gian' (did you mean 'validation/gain'?)",
        ),
        ({"set": {"judge": None}}, [], "objectives: no validation logs 'validation/gain'"),
        ({"set": {"trainer.limit_val_batches": 0}}, [], "trainer.limit_val_batches: 0, but validation measures"),
        ({"set": {"trainer.val_check_interval": 300}}, [], "300 does not divide the 800 batches of a fit"),
        ({"config": ["shapes_lnog"]}, [], "config shapes_lnog: no such file (did you mean 'shapes_long'?)"),
        ({}, ["--trainer.max_stepz=3"], "trainer: no key is called 'max_stepz' (did you mean 'max_steps'?)"),
        ({}, ["--workers=0"], "--workers 0: at least 1 is needed"),
        ({}, ["--worker=1"], "--worker: no such flag or key"),
        ({}, ["--storage=here.db"], "--storage here.db: needs a database's URL"),
        ({}, ["--output=mine.yaml"], "--output mine.yaml: a file; give a folder"),
    ],
)
def test_impossible_setting_is_refused_before_any_trial_starts(changes, arguments, said, capsys):
    assert main(["sweep", written(**changes), *arguments]) == 2
    shown = capsys.readouterr().err
    (line,) = [line for line in shown.splitlines() if "error:" in line]
    assert line.startswith("hypernoise_pl sweep: error: ") and said in line, line
    assert not list(Path("runs").rglob("trials"))


def test_no_trial_starts_after_the_time_limit(capsys):
    assert main(["sweep", written(hours=1e-9), "--output=out", "--json"]) == 0
    shown = capsys.readouterr()
    assert "1e-09 hours are over, 4 trials did not start; the same command continues" in shown.err
    assert json.loads(shown.out)["trials"] == [] and not Path("out/trials").exists()
    assert json.loads(Path("out/summary.json").read_text()) == json.loads(shown.out)


def test_workers_share_gpus_or_cores_among_them(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    gpus = [f"GPU-{place}" for place in range(5)]
    assert [each["CUDA_VISIBLE_DEVICES"] for each in worker_environments(3, 2, gpus, 8)] == [
        "GPU-0,GPU-1",
        "GPU-2,GPU-3",
        "GPU-0,GPU-1",
    ]
    assert [each["CUDA_VISIBLE_DEVICES"] for each in worker_environments(2, 1, ["7", "3"], 8)] == ["7", "3"]
    assert worker_environments(4, 1, [], 8) == [{"OMP_NUM_THREADS": "2"}] * 4 and worker_environments(1, 1, [], 8) == [
        {}
    ]
    assert worker_environments(4, 1, [], 2) == [{"OMP_NUM_THREADS": "1"}] * 4
    with pytest.raises(ConfigError, match=r"trainer\.devices: 8, but the machine has 5 GPUs"):
        worker_environments(1, 8, gpus, 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert worker_environments(2, 1, [], 8) == [{}, {}]


def test_unknown_sweep_name_suggests_the_nearest(capsys):
    assert main(["sweep", "shapes_recpie"]) == 2
    assert "sweep shapes_recpie: no such file (did you mean 'shapes_recipe'?)" in capsys.readouterr().err


@pytest.mark.parametrize("name", sweep_names())
def test_every_sweep_in_conf_passes_a_dry_run(name, capsys):
    assert main(["sweep", name, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert f"sweep {name} begins" in shown and not list(Path().iterdir())
