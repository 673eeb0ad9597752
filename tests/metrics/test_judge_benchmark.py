"""A judge as a benchmark, with its reasons; and the configurations of benchmarks."""

import itertools
from pathlib import Path

import pytest
import torch
from jsonargparse import ArgumentParser

from hypernoise_pl.config.files import conf_folder
from hypernoise_pl.metrics.benchmark import Benchmark
from hypernoise_pl.metrics.judge import Judge
from hypernoise_pl.metrics.judge_benchmark import JudgeBenchmark
from hypernoise_pl.shapes.caption import sample_prompts
from hypernoise_pl.shapes.judge import ShapesJudge
from hypernoise_pl.shapes.render import render_scenes
from hypernoise_pl.shapes.scene import sample_scenes
from hypernoise_pl.types import Prompt
from tests.metrics.original_geneval import reread

BENCHMARKS = sorted((conf_folder() / "benchmarks").glob("*.yaml"))


class Bright(Judge):
    """Finds bright images correct, and says no reason."""

    def missing_metadata(self, prompt: Prompt) -> str | None:
        return None if prompt.text else "has no text"

    def _judge(self, images, prompts):
        return images.flatten(1).mean(1) > 0.5


def test_a_judge_without_reasons_gives_verdicts_all_the_same():
    images = torch.tensor([0.2, 0.9])[:, None, None, None].expand(2, 3, 4, 4)
    prompts = [Prompt("a"), Prompt("b")]
    assert [(each.correct, each.reason) for each in Bright().verdicts(images, prompts)] == [(False, ""), (True, "")]
    assert [each.value for each in JudgeBenchmark(Bright())(images, prompts)] == [0.0, 1.0]
    assert Bright().verdicts(images[:0], []) == []
    with pytest.raises(ValueError, match="Bright cannot judge 1 of 2 prompts; the first, '', has no text"):
        Bright().verdicts(images, [Prompt("a"), Prompt("")])
    with pytest.raises(ValueError, match="JudgeBenchmark cannot score 1 of 2 prompts; the first, '', has no text"):
        JudgeBenchmark(Bright())(images, [Prompt("a"), Prompt("")])


def test_the_shapes_judge_says_why():
    """Pictures of other captions: its verdict, and the reason of a second reading of the rules."""
    pairs = sample_prompts("train", 60, seed=5)
    prompts, named = [prompt for prompt, _ in pairs], [combination for _, combination in pairs]
    images = render_scenes(sample_scenes(named, torch.Generator().manual_seed(0)), 64).roll(6, 0)
    judge = ShapesJudge()
    outcomes = JudgeBenchmark(judge)(images, prompts)
    reasons = []
    for prompt, found, outcome in zip(prompts, judge.detect(images), outcomes, strict=True):
        objects = [
            {"class": d.name, "box": d.box, "color": d.colour, "score": 0.99 - 0.001 * place}
            for place, d in enumerate(found)
        ]
        correct, reason = reread(objects, {"tag": prompt.tag, **prompt.metadata})
        assert (outcome.value, outcome.reason) == (float(correct), reason)
        reasons.append(reason)
    assert sum("found" in reason for reason in reasons) > 30
    assert judge(images, prompts).tolist() == [outcome.value == 1 for outcome in outcomes]


@pytest.mark.parametrize("file", BENCHMARKS, ids=lambda file: file.stem)
def test_a_configuration_explains_itself(file: Path):
    lines = file.read_text().splitlines()
    about = lines[0].removeprefix("# ")
    assert about.endswith((".", "?")) and len(about) <= 52
    for above, line in itertools.pairwise(lines):
        if line.strip() and not line.strip().startswith(("#", "class_path:", "init_args:")) and line != "benchmark:":
            assert "#" in line or above.strip().startswith("#"), f"{file.name}: {line.strip()} has no comment"


def benchmark_of(file: Path, *flags: str) -> Benchmark:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Benchmark, "benchmark")
    parser.add_argument("--config", action="config")
    return parser.instantiate_classes(parser.parse_args([f"--config={file}", *flags])).benchmark


def test_the_shapes_configuration_is_the_shapes_judge():
    made = benchmark_of(conf_folder() / "benchmarks" / "shapes.yaml")
    assert isinstance(made, JudgeBenchmark) and made.judged_by() == "ShapesJudge"


def test_genevals_configuration_takes_weights_from_elsewhere(detector_folder, colours_folder):
    key = "--benchmark.init_args"
    flags = [f"{key}.detector.init_args.model={detector_folder}", f"{key}.colours.init_args.model={colours_folder}"]
    made = benchmark_of(conf_folder() / "benchmarks" / "geneval.yaml", *flags)
    assert made.title == "geneval-hf" and made.colours.display_name() == f"CLIP {colours_folder}"
