"""``--dry-run``: what it counts is what a run has, everything missing is said at once, and nothing is made."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from hypernoise_pl.__main__ import main
from hypernoise_pl.callbacks.progress import spoken
from hypernoise_pl.checkpoints.meta_device import (
    count_parameters,
    count_stored_parameters,
    find_model_folder,
    meta_pipeline,
)
from hypernoise_pl.generators.loading import BACKENDS
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.view import LoraOptions, trainable
from tests.hub import Hub, running
from tests.metrics.conftest import colours_folder, detector_folder  # noqa: F401 - fixtures

pytestmark = pytest.mark.usefixtures("own_folder")

ROOT = Path(__file__).parents[2]
TINY = ["--data.validation=6", "--data.test=6", "--data.batch_size=4", "--trainer.max_steps=3"]


def dry(capsys, *arguments: str) -> dict[str, str]:
    """The lines of a dry run that finds nothing missing."""
    assert main([*arguments, "--dry-run", "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out)["found"])


def test_what_a_dry_run_counts_is_what_a_run_has(capsys):
    assert main(["fit", *TINY, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("fit: dry run, nothing is made: shapes world") and "nothing is missing" in shown
    found = dry(capsys, "fit", *TINY, "--data.train=20")
    assert found["training"] == "3 steps of 4 prompts: 12 images"
    assert found["prompts, train"].startswith("20, ") and found["prompts, test"].startswith("6, ")
    assert found["writes"].startswith("runs/fit/<time>: config.yaml")
    given = [
        "--trainer.limit_val_batches=0",
        "--model.reference_search=null",
        "--model.images_per_prompt=1",
        "--judge=null",
    ]
    assert not list(Path().iterdir())
    assert main(["fit", *TINY, *given, "--output=run"]) == 0
    start = capsys.readouterr().out
    trains = found["trains"].split()[0]
    assert f"{trains} trainable weights" in start
    tuned = dry(capsys, "fit", *TINY, "--model.adapter=GeneratorLora")["trains"]
    assert "generator itself" in tuned and tuned.split()[0] == trains
    assert dry(capsys, "compare", "--adapter=run/adapter", *TINY[:2])["comparison"].startswith("24 rows, ")


def test_all_that_is_missing_is_said_at_once_by_a_dry_run_and_by_a_run_before_it_loads(capsys):
    wrong = ["--model.generator.model=/gone", "--model.rewards.clip.model=/lost"]
    wrong += ["--data=TextPrompts", "--data.train=no.txt", "--judge=null"]
    for flags in ([], ["--dry-run"]):
        assert main(["fit", *wrong, *flags, "--output=run"]) == 2
        said = capsys.readouterr().err
        assert "3 things are missing or wrong:\n" in said
        for part in (
            "generator /gone: no such folder",
            "clip /lost: no such folder",
            "prompt file no.txt: no such file",
        ):
            assert part in said
        assert not Path("run").exists()


def test_prompts_that_the_judge_cannot_judge_and_a_checkpoint_that_is_not_there(capsys):
    Path("mine.txt").write_text("a cat\na dog\na cat\n")
    assert main(["fit", "--data=TextPrompts", "--data.train=mine.txt", "--dry-run"]) == 2
    assert "cannot judge" in capsys.readouterr().err
    assert main(["fit", "--dry-run", "--ckpt_path=gone.ckpt"]) == 2
    assert "gone.ckpt: no such file" in capsys.readouterr().err
    found = dry(capsys, "fit", "--data=TextPrompts", "--data.train=mine.txt", "--data.batch_size=2", "--judge=null")
    assert found["prompts, train"] == "3, 2 of them different, 1 tag"


def test_a_model_of_the_hub_that_cannot_be_asked_is_named(capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    found = dry(capsys, "fit", "--model.rewards.clip.model=someone/clip", "--data.train=4", "--data.batch_size=2")
    assert (
        found["model.rewards.clip"] == "someone/clip: not on this machine; not checked, for the hub cannot be reached"
    )


def test_the_hub_says_what_it_has_and_how_large_it_is(capsys, monkeypatch):
    small = ["--data.train=4", "--data.batch_size=2", "--dry-run"]
    with running(Hub()) as hub:
        hub.models["someone/clip"] = {"model.safetensors": 3 * 2**20, "config.json": 2**19}
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        found = dry(capsys, "fit", "--model.rewards.clip.model=someone/clip", *small[:2])
        assert found["model.rewards.clip"] == (
            "someone/clip: not on this machine; the hub has it, 3.5 MiB in all its files"
        )
        assert main(["fit", "--model.rewards.clip.model=someone/clop", *small]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "model.rewards.clip someone/clop: no such id on the hub" in error
    hub.status = 500
    for _ in ("nobody listens",):
        assert main(["fit", "--model.rewards.clip.model=someone/clip", *small]) == 0
        said = capsys.readouterr().out
        assert "not checked, for the hub cannot be reached" in said
        assert "nothing is missing, but for someone/clip, not on this machine; " in said


def test_a_model_that_the_hubs_client_keeps_needs_no_hub(capsys, monkeypatch, tmp_path):
    cache = tmp_path / "cache"
    folder = cache / "models--someone--clip" / "snapshots" / "0123"
    shutil.copytree(ROOT / "hypernoise_pl/shapes/weights/clip", folder)
    (cache / "models--someone--clip" / "refs").mkdir()
    (cache / "models--someone--clip" / "refs" / "main").write_text("0123")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    with running(Hub()) as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        found = dry(capsys, "fit", "--model.rewards.clip.model=someone/clip", "--data.train=4", "--data.batch_size=2")
    assert found["reward, clip"].endswith("; kept on this machine by the hub's client") and not hub.asked


def test_a_generator_that_lacks_weights_is_missing(capsys, sana_folder, tmp_path):
    folder = tmp_path / "sana"
    shutil.copytree(sana_folder, folder)
    next((folder / "transformer").glob("*.safetensors")).unlink()
    given = ["fit", "--model.generator=SanaSprint", f"--model.generator.model={folder}", "--dry-run"]
    assert main(given) == 2
    assert f"model.generator {folder}: no weights in transformer/" in capsys.readouterr().err


def test_every_missing_prompt_file_of_a_split_is_named(capsys):
    kind = "hypernoise_pl.data.files.PromptFile"
    one, other = (f"{{class_path: {kind}, init_args: {{path: {name}.txt}}}}" for name in "ab")
    sets = f"{{a: {one}, b: {other}}}"
    given = ["--data=PromptSets", f"--data.train={sets}", f"--data.validation={sets}", "--judge=null"]
    for flags in ([], ["--dry-run"]):
        assert main(["fit", *given, *flags]) == 2
        error = capsys.readouterr().err
        assert error.count("a.txt: no such file") == error.count("b.txt: no such file") == 1
        assert "2 things are missing or wrong:" in error


def test_time_is_that_of_a_run_that_did_the_same_in_a_step(capsys):
    same = ["--data.batch_size=4", "--data.test=6", "--trainer.limit_val_batches=0", "--model.images_per_prompt=1"]
    given = [*same, "--model.reference_search=null", "--judge=null"]
    assert dry(capsys, "fit", *given)["time"].startswith("not known: no run in runs/fit has measured such steps on cpu")
    assert main(["fit", *given, "--trainer.max_steps=4"]) == 0
    summary = json.loads(next(Path("runs/fit").glob("*/summary.json")).read_text())
    assert 0 < summary["fit"]["seconds_per_step"] < 60 and summary["fit"]["device"].startswith("cpu (")
    capsys.readouterr()
    more = [*given, "--trainer.max_steps=1000", "--model.reward_weights.clip=0.5", "--model.optimizer.lr=0.1"]
    said = dry(capsys, "fit", *more)["time"]
    seconds, run = summary["fit"]["seconds_per_step"], next(Path("runs/fit").iterdir())
    assert said == (
        f"{spoken(1000 * seconds)} of training: {seconds:.3g} s a step, measured by {run} on {summary['fit']['device']}"
    )
    for other in (
        "--data.batch_size=5",
        "--model.adapter.lora.rank=3",
        "--model.rewards.clip=null",
        "--trainer.precision=64",
    ):
        flags = [*given, other, *(["--model.reward_weights.clip=null"] if "clip" in other else [])]
        assert dry(capsys, "fit", *flags)["time"].startswith("not known")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--data.batch_size=0"], "data.batch_size and data.eval_batch_size must be at least 1, got 0 and 60"),
        (["--data.batch_size=7000"], "6,000 training prompts do not fill one batch of 7,000 on 1 process(es)"),
        (["--data.test=0"], "data: no test prompts; give at least one"),
        (["--trainer.max_steps=-5"], "trainer.max_steps -5: give at least 1, or -1 for no end"),
        (["--trainer.max_steps=ten"], "--trainer.max_steps: got 'ten'; give a whole number"),
        (["--trainer.max_steps=1e3"], "--trainer.max_steps: got 1000.0; give a whole number"),
        (["--trainer.precision=bf17"], "--trainer.precision: got 'bf17'; give one of "),
        (["--config=typo.yaml"], "'adapter' is an argument of HyperNoiseModule; write it under model.init_args"),
        (["--config=sana_sprit"], "config sana_sprit: no such file (did you mean 'sana_sprint'?)"),
        (["--data=TextPrompts", "--data.train=bad.jsonl"], 'line 1: needs an object with a text "prompt", got 3'),
        (["--model.rewards={a: {class_path: Redness2}}"], "no class is called 'Redness2'"),
        (["--model.adapter.lora.rank=0"], "model.generator: LoRA rank must be at least 1, got 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_a_mistyped_value_is_one_line(capsys, flags, said):
    Path("typo.yaml").write_text("model: {adapter: {rnak: 3}}\n")
    Path("bad.jsonl").write_text('{"prompt": 3}\n')
    assert main(["fit", "--dry-run", *flags]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and said in error


def test_damaged_weights_are_named(capsys):
    Path("clip").mkdir()
    Path("clip/model.safetensors").write_bytes(b"nothing")
    assert main(["fit", "--model.rewards.clip.model=./clip", "--dry-run"]) == 2
    assert "model.rewards.clip: clip/model.safetensors: damaged file" in capsys.readouterr().err


def test_a_pipeline_without_weights_has_the_shapes_of_the_saved_one(sana_folder):
    from hypernoise_pl.generators.sana_sprint import SanaSprint

    given = {"max_sequence_length": 20}
    whole = SanaSprint(str(sana_folder), **given)
    folder = find_model_folder(str(sana_folder))
    without = meta_pipeline(folder, torch.bfloat16)
    assert type(without).__name__ in BACKENDS
    for name, part in whole.pipeline.components.items():
        if isinstance(part, torch.nn.Module):
            own = without.components[name]
            assert {n: p.shape for n, p in own.named_parameters()} == {n: p.shape for n, p in part.named_parameters()}
            assert all(p.is_meta for p in own.parameters())
            assert count_parameters(own) == (count_parameters(part)[0], count_parameters(part)[0] * 2)
    count = sum(p.numel() for p in trainable(NoiseHypernetwork(whole, LoraOptions(rank=3)).view))
    assert count > 0
    stored, size = count_stored_parameters(sana_folder)
    assert stored == sum(
        count_parameters(p)[0] for p in whole.pipeline.components.values() if isinstance(p, torch.nn.Module)
    )
    assert size > stored


def test_a_judge_with_models_is_looked_at_and_not_built(capsys, prompts_and_models):
    flags = prompts_and_models
    found = dry(capsys, "fit", *flags)
    assert found["judge, detector"].startswith("Mask2FormerDetector, ") and "parameters" in found["judge, detector"]
    assert found["judge, colours"].startswith("ClipColours, ")
    gone = ["--judge.detector.model=/gone/detector", "--judge.colours.model=/gone/clip"]
    for more in ([], ["--dry-run"]):
        assert main(["fit", *flags, *gone, *more]) == 2
        error = capsys.readouterr().err
        assert "judge.detector /gone/detector: no such folder" in error and "judge.colours /gone/clip" in error
        assert "2 things are missing or wrong:" in error


def test_a_benchmark_of_training_is_looked_at_too(capsys):
    run = (
        "{class_path: hypernoise_pl.callbacks.run_benchmark.RunBenchmark, init_args: {name: bench, metadata: no.jsonl, "
    )
    run += "benchmark: {class_path: hypernoise_pl.metrics.judge_benchmark.JudgeBenchmark, init_args: {judge: "
    run += "{class_path: hypernoise_pl.shapes.judge.ShapesJudge}}}}}"
    for more in ([], ["--dry-run"]):
        assert main(["fit", *TINY, f"--trainer.callbacks+={run}", *more]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "benchmark bench: no.jsonl: no such file" in error


@pytest.fixture
def prompts_and_models(detector_folder, colours_folder) -> list[str]:  # noqa: F811
    """A fit on the shapes world with GenEval's judge in tiny."""
    judge = "hypernoise_pl.metrics.geneval"
    detector = f"{{class_path: {judge}.detector.Mask2FormerDetector, init_args: {{model: {detector_folder}}}}}"
    colours = f"{{class_path: {judge}.colours.ClipColours, init_args: {{model: {colours_folder}}}}}"
    told = f"{{class_path: {judge}.judge.GenEvalJudge, init_args: {{detector: {detector}, colours: {colours}}}}}"
    return [*TINY, "--data.train=20", f"--judge={told}"]
