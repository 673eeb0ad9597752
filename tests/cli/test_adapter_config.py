"""What an adapter knows is taken from it: validate, test, predict and compare need no flag of the fit's."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from hypernoise_pl.__main__ import main
from hypernoise_pl.cli.command_config import merge_command
from hypernoise_pl.cli.parser import parse
from hypernoise_pl.config.files import PACKAGE
from hypernoise_pl.runs.run_folder import OUTPUT_VARIABLE

TINY = ["--trainer.max_steps=1", "--trainer.limit_val_batches=0", "--trainer.log_every_n_steps=1"]
TINY += ["--data.batch_size=2", "--data.test=6", "--model.reference_search=null", "--model.images_per_prompt=2"]
FITS = {
    "rank": ["--model.adapter.lora.rank=4", "--model.adapter.lora.alpha=2", "--model.adapter.mode=absolute"],
    "generator_lora": ["--model.adapter=GeneratorLora", "--model.adapter.lora.rank=3"],
    "other_generator": [
        "--model.generator.guidance_scale=3",
        "--config=rewards/redness",
        "--model.adapter.lora.targets=[to_q,proj_out]",
    ],
}


@pytest.fixture(scope="module")
def fits(tmp_path_factory) -> Path:
    """A working directory with one run of each kind."""
    folder = tmp_path_factory.mktemp("fits")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, flags in FITS.items():
            patch.delenv(OUTPUT_VARIABLE, raising=False)
            assert main(["fit", *TINY, *flags, f"--output=runs/fit/{name}"]) == 0
        patch.delenv(OUTPUT_VARIABLE, raising=False)
    return folder


@pytest.fixture(autouse=True)
def _there(fits, monkeypatch):
    monkeypatch.chdir(fits)
    monkeypatch.delenv(OUTPUT_VARIABLE, raising=False)
    yield
    monkeypatch.delenv(OUTPUT_VARIABLE, raising=False)


def built(command: str, *flags: str) -> dict:
    options, rest = parse(command, flags)
    return merge_command(command, options, rest).config


def said(capsys, *arguments: str) -> str:
    assert main([*arguments]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    return line


def lora_of(arguments: dict) -> dict:
    """The LoRA options of a module's arguments."""
    return arguments["adapter"]["init_args"]["lora"]


@pytest.mark.parametrize("name", FITS)
def test_test_repeats_the_fits_own_test_without_a_flag(name, tmp_path):
    assert main(["test", f"--adapter=runs/fit/{name}/adapter", f"--output={tmp_path / 'test'}"]) == 0
    fit, test = (json.loads(Path(run, "summary.json").read_text()) for run in (f"runs/fit/{name}", tmp_path / "test"))
    for method in ("base", "hypernetwork"):
        measured, fitted = test["methods"][method], fit["methods"][method]
        assert measured["rewards"] == pytest.approx(fitted["rewards"], rel=1e-5)
        assert measured["judge"] == fitted["judge"]
    assert (test["prompts"], test["seeds"]) == (6, 2)


@pytest.mark.parametrize("name", FITS)
def test_predict_builds_what_was_trained_from_an_adapter_that_lies_alone(name, tmp_path):
    alone = tmp_path / "alone"
    shutil.copytree(f"runs/fit/{name}/adapter", alone)
    assert main(["predict", f"--adapter={alone}", "--prompt=a red circle", f"--output={tmp_path / 'seen'}"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "seen" / "predictions.jsonl").read_text().splitlines()]
    assert [row["kind"] for row in rows] == ["base", "refined"]
    arguments = built("predict", f"--adapter={alone}")["model"]["init_args"]
    about = json.loads((alone / "hypernoise.json").read_text())
    assert lora_of(arguments) == {key: about[key] for key in ("rank", "alpha", "init", "targets")}
    assert arguments["generator"]["init_args"]["guidance_scale"] == (3 if name == "other_generator" else 4.5)


def test_the_runs_rewards_judge_and_prompts_are_those_of_its_adapter():
    arguments = built("predict", "--adapter=runs/fit/other_generator/adapter")["model"]["init_args"]
    assert arguments["rewards"]["hps"] is None and arguments["reward_weights"]["red"] == 1.0
    assert arguments["rewards"]["clip"] is None


def test_devices_and_strategy_are_not_those_of_the_run(tmp_path):
    shutil.copytree("runs/fit/rank", tmp_path / "run")
    config = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    config["trainer"] |= {"strategy": "ddp", "devices": 6, "accelerator": "cuda", "precision": "bf16-mixed"}
    (tmp_path / "run/config.yaml").write_text(yaml.safe_dump(config))
    trainer = built("test", f"--adapter={tmp_path / 'run/adapter'}")["trainer"]
    assert (trainer.get("strategy"), trainer["devices"], trainer["accelerator"]) == (None, 1, "auto")
    assert trainer["precision"] == "bf16-mixed"


@pytest.mark.parametrize("command", ["validate", "test", "predict", "compare"])
@pytest.mark.parametrize(
    ("flag", "line"),
    [
        (
            "--model.adapter.lora.rank=5",
            "its rank is 4, not 5; leave out what says otherwise (--model.adapter.lora.rank)",
        ),
        ("--model.adapter.lora.alpha=5", "its alpha is 2.0, not 5"),
        ("--model.adapter.lora.targets=[to_q]", "its targets is all, not ['to_q']"),
        ("--model.adapter.mode=residual", "its mode is absolute, not residual"),
        (
            "--model.adapter=GeneratorLora",
            "it adapts noise, not generator; leave out what says otherwise (--model.adapter)",
        ),
        ("--model.generator=SDTurbo", "its generator is SanaSprint, not SDTurbo"),
    ],
)
def test_a_flag_that_contradicts_the_adapter_is_refused_in_one_line(command, flag, line, capsys):
    prompt = ["--prompt=a ring"] if command == "predict" else []
    assert line in said(capsys, command, "--adapter=runs/fit/rank/adapter", flag, *prompt)


def test_a_recipe_says_nothing_of_the_adapter():
    arguments = built("test", "--adapter=runs/fit/rank/adapter", "--config=shapes_long")["model"]["init_args"]
    assert lora_of(arguments)["rank"] == 4
    wrong = ["--adapter=runs/fit/rank/adapter", "--config=sana_sprint", "--model.generator.height=64"]
    assert lora_of(built("test", *wrong)["model"]["init_args"])["rank"] == 4


def test_the_newest_fit_is_taken_where_none_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "run `python -m hypernoise_pl fit` first" in said(capsys, "test")
    assert lora_of(built("compare")["model"]["init_args"])["rank"] == 32


def test_a_generators_folder_that_is_elsewhere_on_this_machine_is_given_by_a_flag(tmp_path, capsys):
    alone = tmp_path / "alone"
    shutil.copytree("runs/fit/rank/adapter", alone)
    about = json.loads((alone / "hypernoise.json").read_text())
    here = PACKAGE / "shapes" / "weights" / "generator"
    about["generator"]["init_args"]["model"] = "./somewhere/generator"
    (alone / "hypernoise.json").write_text(json.dumps(about))
    assert "pass --model.generator.model=PATH" in said(capsys, "predict", f"--adapter={alone}", "--prompt=a ring")
    arguments = built("predict", f"--adapter={alone}", f"--model.generator.model={here}")["model"]["init_args"]
    assert arguments["generator"]["init_args"]["model"] == str(here)
