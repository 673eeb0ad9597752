"""Every class of docs/extending.md is written to a file, built, held against its contract, and run by its commands."""

import importlib
import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from hypernoise_pl.__main__ import main
from hypernoise_pl.config.files import PACKAGE
from hypernoise_pl.generators.sana_sprint import SanaSprint
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.view import LoraOptions
from hypernoise_pl.metrics.benchmark import summarise_outcomes
from hypernoise_pl.metrics.judge_benchmark import JudgeBenchmark
from hypernoise_pl.noise import gaussian
from hypernoise_pl.rewards.pixels import Redness
from hypernoise_pl.search.account import BudgetExceeded
from hypernoise_pl.search.problem import NoiseProblem
from hypernoise_pl.types import Prompt
from tests.test_commands import ROOT, TINY, commands_of

PAGE = (ROOT / "docs" / "extending.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n)+)", PAGE, re.M))
FILES = dict(re.findall(r"^```\w+\n# (my_\w+\.\w+)\n(.*?)^```", PAGE, re.M | re.S))
SHAPES = ("--data.batch_size=2", "--data.validation=6", "--data.test=6")
OWN_DATA = [flag for flag in TINY if not flag.startswith("--data.")]
FEW_PROBES = [f"--trainer.callbacks.NoiseHealth.{name}=1" for name in ("images", "probes", "order")]
PROMPTS = ["a red circle", "a blue star"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory with the page's files and one run."""
    here = tmp_path_factory.mktemp("mine")
    for name, text in FILES.items():
        (here / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.syspath_prepend(here)
        runpy.run_path("my_generator.py", run_name="__main__")
        assert main(["fit", *TINY, "--output=runs/fit/first"]) == 0
        yield here


@pytest.fixture(autouse=True)
def _there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def module(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def shapes() -> SanaSprint:
    """The generator of the shapes world."""
    weights = str(PACKAGE / "shapes" / "weights" / "generator")
    made = SanaSprint(weights, components="hypernoise_pl.shapes.models", max_sequence_length=20)
    return made.eval().requires_grad_(False)


def posed(shapes: SanaSprint, budget: int, rows: slice = slice(None), steps: int = 1) -> NoiseProblem:
    start = gaussian(shapes.noise_shape, [1, 2])[rows]
    return NoiseProblem(shapes, Redness(), PROMPTS[rows], start, budget, steps=steps)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_has_a_class_and_a_command_that_names_it(section):
    classes = re.findall(r"^class (\w+)", SECTIONS[section], re.M)
    commands = commands_of(SECTIONS[section])
    if section == "A benchmark":
        commands.append(FILES["my_benchmark.yaml"])
    assert classes and any(f".{classes[-1]}" in command for command in commands)


@pytest.mark.parametrize("section", SECTIONS)
def test_the_commands_of_a_section_work(section, capsys):
    for number, command in enumerate(commands_of(SECTIONS[section])):
        words = shlex.split(command.replace("TIME", "first"))
        if words[1] == "my_generator.py":
            continue  # the fixture has run it
        name, arguments = words[3], words[4:]
        extra = {
            "fit": OWN_DATA if "--data=" in command else TINY,
            "compare": ["--compare.prompts=6", "--compare.seeds=1", "--compare.features=null"],
            "predict": SHAPES[2:],
            "test": SHAPES,
            "score": [],
        }[name]
        if section == "A metric":
            extra = [*extra, "--trainer.limit_val_batches=1", "--trainer.val_check_interval=1", *FEW_PROBES]
        output = f"runs/{name}/" + ("first" if name == "predict" else re.sub(r"\W", "_", f"{section}_{number}"))
        assert main([name, *arguments, *extra, f"--output={output}"]) == 0, capsys.readouterr().err
        if section == "A metric":
            assert 0 < logged(Path(output), "validation/hypernetwork/saturation") < 1


def logged(run: Path, name: str) -> float:
    """A figure of the run's record, which ``live.html`` is made of."""
    found = re.findall(rf'"{name}": ([\d.]+)', (run / "history.jsonl").read_text())
    return float(found[-1])


def test_the_reward_is_the_formula_and_has_its_gradient():
    reward = module("my_colourfulness").Colourfulness(strength=0.3)
    halves = torch.zeros(2, 3, 4, 4)
    halves[0, 0, :, :2], halves[0, 2, :, 2:] = 1, 1  # left half red, right half blue; the second image is black
    # red - green is 1 and 0, (red + green) / 2 - blue is 1/2 and -1: variances 1/4 and 9/16, means 1/2 and -1/4
    expected = (0.25 + 0.5625) ** 0.5 + 0.3 * (0.25 + 0.0625) ** 0.5
    torch.testing.assert_close(reward(halves, PROMPTS), torch.tensor([expected, 0.0]), atol=2e-4, rtol=0)
    images = torch.rand(2, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda images: reward._score(images, PROMPTS), (images,))
    black = torch.zeros(2, 3, 4, 4, requires_grad=True)
    reward(black, PROMPTS).sum().backward()
    assert black.grad is not None and black.grad.isfinite().all()


def test_the_verifier_counts_colours_and_keeps_its_option():
    verifier = module("my_verifier").DistinctColours(bits=1)
    image = torch.tensor([0.1, 0.2, 0.8, 0.9]).expand(1, 3, 1, 4)  # two colours, of one bit a channel
    torch.testing.assert_close(verifier(image, ["a ring"]), torch.tensor([0.02]))
    torch.testing.assert_close(module("my_verifier").DistinctColours(8)(image, ["a ring"]), torch.tensor([0.04]))
    assert verifier.arguments == {"bits": 1}
    with pytest.raises(ValueError, match="bits must be from 1 to 8, got 9"):
        module("my_verifier").DistinctColours(9)


@pytest.mark.parametrize("steps", [1, 2])
def test_the_search_spends_its_budget_and_improves_single_elements(shapes, steps):
    search = module("my_search").CoordinateSearch(iterations=12, step=2.0)
    problem = posed(shapes, search.nfe(steps), steps=steps)
    first = posed(shapes, steps, steps=steps)
    before = first.score(first.draw(1))[:, 0]
    search.run(problem)
    best = problem.answer()
    assert problem.account.nfe == search.nfe(steps) == 25 * steps
    assert not problem.affords(1) and (best.scores > before).all()
    change = (best.noise - problem.start).flatten(1)
    torch.testing.assert_close((change / 2).round(), change / 2, atol=1e-5, rtol=0)  # whole steps of 2
    assert (change != 0).sum(1).max() <= 12
    with pytest.raises(BudgetExceeded):
        problem.score(best.candidates)


def test_the_search_is_as_long_as_a_budget_allows_and_does_not_depend_on_the_batch(shapes):
    search = module("my_search").CoordinateSearch(iterations=4)
    for budget in range(3, 30):
        own = search.fit_to(budget)
        assert own.nfe() <= budget < own.nfe() + 2
    with pytest.raises(ValueError, match="needs a budget of 3 NFE"):
        search.fit_to(2)
    together = posed(shapes, search.nfe())
    search.run(together)
    for row in range(2):
        alone = posed(shapes, search.nfe(), slice(row, row + 1))
        search.run(alone)
        torch.testing.assert_close(alone.answer().noise[0], together.answer().noise[row], rtol=0, atol=1e-5)


def test_the_prompt_set_holds_pairs_out():
    data = module("my_prompts").ColouredThings(["red", "blue", "green"], ["circle", "star", "ring"])
    train, test = data.prompts("train"), data.prompts("test")
    texts = [prompt.text for prompt in (*train, *test)]
    assert len(texts) == len({*texts}) == 9 and len(test) == 3 and data.prompts("validation") == test
    assert [prompt.index for prompt in train] == [*range(6)]
    (batch, *_) = data.train_dataloader()
    assert len(batch) == 4 and all(isinstance(prompt, Prompt) for prompt in batch)


def test_the_judge_decides_by_the_strongest_channel():
    judge = module("my_judge").StrongestChannel()
    images = torch.tensor([[0.9, 0.1, 0.2], [0.9, 0.1, 0.2]])[:, :, None, None].expand(2, 3, 4, 4)
    prompts = [Prompt("a red circle", index=0), Prompt("a blue star", index=1)]
    assert judge(images, prompts).tolist() == [True, False]
    assert [outcome.reason for outcome in JudgeBenchmark(judge)(images, prompts)] == ["", "asked for blue, is red"]
    with pytest.raises(ValueError, match="names none of red, green, blue"):
        judge(images[:1], [Prompt("a ring")])


def test_the_benchmark_knows_a_symmetric_image():
    benchmark = module("my_benchmark").MirrorSymmetry()
    half = torch.rand(3, 8, 4)
    symmetric = torch.cat([half, half.flip(2)], 2)
    opposite = torch.cat([half, 1 - half.flip(2)], 2)
    prompts = [Prompt(text, index=place) for place, text in enumerate(["a ring", "a star", "a cross"])]
    outcomes = benchmark(torch.stack([symmetric, opposite, torch.full_like(symmetric, 0.5)]), prompts)
    torch.testing.assert_close(torch.tensor([outcome.value for outcome in outcomes[:2]]), torch.tensor([1.0, -1.0]))
    assert outcomes[0].reason == "" and outcomes[1].reason == "left and right correlate by -1.00"
    figure = summarise_outcomes(outcomes, prompts)["score"]
    assert figure["left_out"] == 1 and figure["images"] == 2


def test_the_generator_meets_the_contract():
    generator = module("my_generator").LetterFlow("my_velocity.safetensors").eval().requires_grad_(False)
    conditioning = generator.encode(PROMPTS)
    assert conditioning.embeddings.sum((1, 2)).tolist() == [len(text) for text in PROMPTS]
    noise = gaussian(generator.noise_shape, [1, 2]).requires_grad_()
    for steps in (1, 3):
        torch.testing.assert_close(generator.latents(noise, conditioning, steps), euler(generator, noise, steps))
    images = generator.generate(noise, conditioning)
    assert images.shape == (2, 3, 64, 64) and 0 <= images.min() < images.max() <= 1
    (gradient,) = torch.autograd.grad(images.sum(), noise)
    assert gradient.abs().amax((1, 2, 3)).min() > 0
    hypernetwork = NoiseHypernetwork(generator, LoraOptions(2, 4.0))
    assert not hypernetwork(noise, conditioning).any()  # f = 0 at the start
    swapped = generator.generate(noise, generator.encode(PROMPTS[::-1]))
    assert (swapped - images).abs().max() > 1e-4  # it reads the prompt


def euler(generator, noise: Tensor, steps: int) -> Tensor:
    """Euler's steps of flow matching, from noise at 1 to clean at 0."""
    letters = torch.zeros(2, 1, 256)
    for row, text in enumerate(PROMPTS):
        for byte in text.encode():
            letters[row, 0, byte] += 1
    state = noise
    for step in range(steps):
        state = state - generator.network(state, 1 - step / steps, letters) / steps
    return state
