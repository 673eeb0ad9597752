"""The recipes for real models, end to end: their own configuration, with tiny models of the real classes in it."""

import json
import sys
import warnings
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from hypernoise_pl.__main__ import main
from hypernoise_pl.config.loading import load_configs
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.metrics.geneval import detector
from tests import two_processes
from tests.families.transformers import build_pixart
from tests.metrics.conftest import colours_folder, detector_folder  # noqa: F401 - fixtures
from tests.rewards.conftest import blip_folder, clip_folder  # noqa: F401 - fixtures

ROOT = Path(__file__).parents[2]
RECIPES = {
    "sd_turbo": ("sd-turbo", []),
    "sana_sprint": ("sana-sprint", ["--model.generator.max_sequence_length=20"]),
    "flux_schnell": (
        "flux-schnell",
        ["--model.generator.max_sequence_length=20", "--model.generator.height=16", "--model.generator.width=16"],
    ),
    "sdxl_turbo": ("sdxl-turbo", ["--model.generator.height=16", "--model.generator.width=16"]),
}


pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.fixture
def prompts(tmp_path) -> Path:
    """The recipes' prompt files, a few lines each; one training prompt is GenEval's."""
    folder = tmp_path / "prompts"
    (folder / "t2i_compbench").mkdir(parents=True)
    (folder / "geneval").mkdir()
    (folder / "t2i_compbench" / "color_train.txt").write_text("a red circle\nA blue star!\na photo of a bench\n")
    (folder / "t2i_compbench" / "color_val.txt").write_text("a green ring\nthree stars\na white ring\n")
    (folder / "abc-6k.txt").write_text("two squares\na red circle .\n")
    (folder / "pickapic_prompts.json").write_text(json.dumps({"0": "a ring", "1": "a star left of a ring"}))
    clauses = [{"class": "bench", "count": 1}]
    lines = [
        {"tag": "single_object", "include": clauses, "prompt": f"a photo of {name}"} for name in ("a bench", "a cow")
    ]
    (folder / "geneval" / "evaluation_metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def small(prompts, clip_folder, blip_folder, detector_folder, colours_folder, monkeypatch) -> list[str]:  # noqa: F811
    """Flags that put tiny rewards, a tiny judge and the CPU in the place of a recipe's; the rest of it stands."""
    monkeypatch.setattr(detector, "LONG", 150)  # pixels that the judge's detector sees, so that a test is quick
    monkeypatch.setattr(detector, "SHORT", 90)
    flags = [f"--data.folder={prompts}", "--model.generator.dtype=float32", "--model.adapter.lora.rank=4"]
    for name in ("hps", "pick", "clip"):
        flags += [f"--model.rewards.{name}.model={clip_folder}", f"--model.rewards.{name}.tokenizer={clip_folder}"]
    flags += [f"--model.rewards.image_reward.model={blip_folder}"]
    flags += [f"--model.rewards.{name}.dtype=float32" for name in ("hps", "pick", "clip", "image_reward")]
    flags += [f"--judge.detector.model={detector_folder}", f"--judge.colours.model={colours_folder}"]
    flags += ["--trainer.precision=32-true", "--trainer.accelerator=cpu", "--trainer.max_steps=2"]
    flags += ["--trainer.accumulate_grad_batches=2", "--trainer.val_check_interval=4", "--trainer.log_every_n_steps=1"]
    return [*flags, "--data.batch_size=2", "--data.validation_prompts=2", "--model.images_per_prompt=2"]


def rows_of(kind: str) -> list[dict]:
    rows = [json.loads(line) for line in Path("run/history.jsonl").read_text().splitlines()]
    assert rows
    return [row for row in rows if row["split"] == kind]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_trains_tests_and_saves(recipe, pipeline_folder, small, capsys):
    family, options = RECIPES[recipe]
    model = f"--model.generator.model={pipeline_folder(family)}"
    assert main(["fit", "--config", recipe, *small, model, *options, "--output=run"]) == 0, capsys.readouterr().err
    told = capsys.readouterr()
    assert (
        "fit: validations are not judged, the test is: 2 of 2 validation prompts cannot be; the first has no 'inc"
        in told.out
    )
    assert "\njudge " in told.out and "\nsingle object" in told.out  # GenEval's, at the end
    assert "geneval-hf by Mask2Former " in told.out and "GenEval drifts from human judgement" in told.out
    assert "data: 5 of 7 training prompts; left out: 1 that are also in compbench_val, geneval, 1 repeated" in told.err
    summary = json.loads(Path("run/summary.json").read_text())
    trained = summary["methods"]["hypernetwork"]
    assert set(trained["rewards"]) == {"hps", "image_reward", "pick", "clip"}
    assert (summary["prompts"], summary["seeds"], trained["nfe"]) == (2, 2, 2)
    assert set(trained["judge"]) == {"mean", "single_object"} and trained["gain"] is not None
    assert summary["judged_by"].startswith("geneval-hf by ")
    assert not any("judge" in name for row in rows_of("validation") for name in row["figures"])
    for folder in ("adapter", "adapter-best"):
        weights = load_file(f"run/{folder}/adapter_model.safetensors")
        assert any(bool(weight.any()) for name, weight in weights.items() if "lora_B" in name)  # it has moved


@pytest.mark.parametrize("preset", ["overfit", "limit", "profile"])
def test_a_preset_of_debug_runs_over_a_recipe(preset, pipeline_folder, small, capsys):
    length = ("max_steps", "accumulate", "val_check", "log_every")
    left = (*(f"--trainer.{name}" for name in length), "--data.batch", *(["--judge"] if preset == "overfit" else []))
    own = [flag for flag in small if not flag.startswith(left)]  # overfit has no judge
    flags = [*own, f"--model.generator.model={pipeline_folder('sd-turbo')}", "--data.batch_size=2", "--output=run"]
    flags += ["--trainer.max_steps=5"] if preset == "overfit" else []
    done = main(["fit", "--config", "sd_turbo", "--config", f"debug/{preset}", *flags])
    assert done == 0, capsys.readouterr().err
    assert Path("run/adapter/adapter_model.safetensors").is_file()
    assert Path("run/profile/trace.json").is_file() == (preset == "profile")
    assert Path("run/checkpoints/last.ckpt").is_file()
    assert Path("run/summary.json").is_file() == (preset != "profile")
    assert Path("run/adapter-best").is_dir() == (preset == "limit")


def test_the_pixart_recipe_trains_with_weights_that_come_apart(tmp_path, small, capsys):
    folder = tmp_path / "pixart"
    build_pixart(folder, sigma=False)
    flags = [f"--model.generator.model={folder}", f"--model.generator.transformer={folder}"]
    flags += ["--model.generator.max_sequence_length=20"]
    assert main(["fit", "--config", "pixart_dmd", *small, *flags, "--output=run"]) == 0, capsys.readouterr().err


def test_a_recipe_reads_its_prompts_from_the_cache(pipeline_folder, small, capsys, monkeypatch):
    flags = ["--config", "flux_schnell", *small, *RECIPES["flux_schnell"][1], "--model.prompt_cache=cache"]
    flags += [f"--model.generator.model={pipeline_folder('flux-schnell')}"]
    assert main(["cache-prompts", *flags]) == 0, capsys.readouterr().err
    assert "cache-prompts: 9 prompts encoded" in capsys.readouterr().out
    assert main(["fit", *flags, "--output=run"]) == 0
    assert "is not in it" not in capsys.readouterr().err
    elsewhere = ["--data.folder=nowhere", "--data.check=false", "--prompt=a ring that is not cached", "--output=seen"]
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # the command shows warnings in its own way
        assert main(["predict", *flags, *elsewhere, "--adapter=run/adapter"]) == 0  # it needs no prompt files
    assert "is not in it; text encoders go to the device for it" in capsys.readouterr().err
    assert len(Path("seen/predictions.jsonl").read_text().splitlines()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_strategy_on_two_processes_that_read_one_cache(strategy, pipeline_folder, small, monkeypatch):
    flags = ["--config", "sd_turbo", *small, "--data.batch_size=1", "--model.prompt_cache=cache"]
    flags += [f"--model.generator.model={pipeline_folder('sd-turbo')}"]
    assert main(["cache-prompts", *flags]) == 0
    flags += ["--config", f"strategy/{strategy}", "--output=run"]
    done = two_processes.run(
        [sys.executable, "-m", "hypernoise_pl", "fit", *flags],
        environment={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(Path("run/summary.json").read_text())["prompts"] == 2
    assert "is not in it" not in done.stderr
    assert done.stderr.count("training prompts; left out") == 1  # the first process alone says so
    saved = torch.load("run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    for folder in ("adapter", "adapter-best"):
        weights = load_file(f"run/{folder}/adapter_model.safetensors")
        assert len(weights) == len(saved) and any(bool(w.any()) for name, w in weights.items() if "lora_B" in name)


def test_a_training_set_is_left_out_or_read_from_elsewhere_by_a_flag(capsys):
    flags = ["--data.leave_out=[pick_a_pic]", "--data.train.abc6k.path=elsewhere.txt", "--print_config"]
    assert main(["fit", "--config", "sana_sprint", *flags]) == 0
    data = yaml.safe_load(capsys.readouterr().out)["data"]["init_args"]
    assert data["leave_out"] == ["pick_a_pic"]
    assert data["train"]["abc6k"]["init_args"]["path"] == "elsewhere.txt"


def test_redness_over_a_recipe_takes_its_rewards_out():
    config = load_configs(["fit", "sana_sprint", "rewards/redness"])
    arguments = config.model.init_args
    assert set(arguments.rewards) == set(arguments.reward_weights) == {"red", "image_reward"}
    assert arguments.rewards.image_reward.init_args.model == "THUDM/ImageReward"
    assert dict(arguments.reward_weights) == {"red": 1.0, "image_reward": 0.0}


def test_every_recipe_has_the_rewards_of_the_paper():
    for recipe in ("sd_turbo", "sana_sprint", "flux_schnell", "sdxl_turbo", "pixart_dmd"):
        arguments = load_configs(["fit", recipe]).model.init_args
        assert dict(arguments.reward_weights) == {"hps": 5.0, "image_reward": 1.0, "pick": 0.05, "clip": 0.01}
        assert not any("shapes" in str(reward) for reward in arguments.rewards.values())
        assert "shapes" not in str(arguments.generator)


def test_a_file_that_includes_itself_is_told_of(tmp_path):
    Path("a.yaml").write_text("include: [b.yaml]\n")
    Path("b.yaml").write_text("include: [a.yaml]\n")
    with pytest.raises(ConfigError, match=r"config a\.yaml: includes itself, through b\.yaml"):
        load_configs(["fit", "a.yaml"])
    Path("c.yaml").write_text("include: fit\n")
    with pytest.raises(ConfigError, match="include needs a list"):
        load_configs(["fit", "c.yaml"])
