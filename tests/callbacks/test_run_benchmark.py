"""A benchmark at validations and at the test: its figures, its subset, when it runs, and that training is the same."""

import json
import sys
from pathlib import Path

import pytest
import torch

from hypernoise_pl.adapters.files import load_adapter
from hypernoise_pl.callbacks.adapter_checkpoint import AdapterCheckpoint
from hypernoise_pl.callbacks.early_stop import EarlyStop
from hypernoise_pl.callbacks.live_page import LivePage
from hypernoise_pl.callbacks.run_benchmark import RunBenchmark
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.generator_lora import GeneratorLora
from hypernoise_pl.metrics.judge_benchmark import JudgeBenchmark
from tests import two_processes
from tests.benchmarked import PROMPTS, Bright, Brightnesses, Logged, Prompts, figures, fitted
from tests.tiny import sana

ROOT = Path(__file__).parents[2]
NAME = "validation/hypernetwork/benchmark/light"


def light(**options) -> RunBenchmark:
    return RunBenchmark(Brightnesses(), "light", **options)


@pytest.mark.parametrize("kind", [NoiseHypernetwork, GeneratorLora])
def test_figures_equal_those_of_images_generated_prompt_by_prompt(sana_folder, tmp_path, kind):
    judged, bright, logged = RunBenchmark(JudgeBenchmark(Bright()), "judged"), light(), Logged()
    trainer = fitted(sana_folder, tmp_path, judged, bright, logged, kind=kind)
    assert [step for step, _ in logged.rows] == [1, 2, 3, 4]
    for _, row in logged.rows:
        for method in ("base", "hypernetwork"):
            assert row[f"validation/{method}/benchmark/judged"] == pytest.approx(row[f"validation/{method}/judge/mean"])
    method = trainer.lightning_module
    for name, strength in (("base", 0.0), ("hypernetwork", 1.0)):
        light_of = {}  # tag -> brightness of every image, made one prompt at a time
        for prompt in PROMPTS:
            with torch.no_grad():
                images = method([prompt] * 2, method.eval_noise([prompt], 2), strength=strength).images
            light_of.setdefault(prompt.tag, []).extend(image.mean().item() for image in images)
        means = {tag: sum(own) / len(own) for tag, own in light_of.items()}
        found = bright.figures[name]["score"]
        assert found["tags"] == pytest.approx(means, abs=1e-5)
        assert found["mean"] == pytest.approx(sum(means.values()) / 2, abs=1e-5)
        assert trainer.callback_metrics[f"test/{name}/benchmark/light"].item() == pytest.approx(found["mean"], abs=1e-5)
        assert (found["images"], found["prompts"], found["left_out"]) == (14, 7, 0)
        assert (bright.figures[name]["red"]["images"], bright.figures[name]["red"]["left_out"]) == (8, 6)
    shown = bright.table()
    assert ("fine-tuned generator" in shown.splitlines()[0]) == (kind is GeneratorLora)
    assert "Brightness by Brightnesses, over 7 prompts" in shown and "A caveat." in " ".join(shown.split())


def test_the_subset_is_fixed_has_every_tag_and_the_base_is_scored_once(sana_folder, tmp_path):
    part = light(prompts=3)
    fitted(sana_folder, tmp_path, part)
    seen = part.benchmark.seen
    wanted = [0, 1, 4]  # tag a: one of three; tag b: two of four, apart
    batches = [[index for index in wanted[:2] for _ in range(2)], [wanted[2]] * 2]
    once = [batch for batch in batches for _ in range(2)]  # base and refined
    at_test = [index for prompt in PROMPTS for index in [prompt.index] * 4]
    assert seen[:10] == [*once, *batches * 3]
    assert sorted(index for batch in seen[10:] for index in batch) == at_test


@pytest.mark.parametrize(
    ("every", "interval", "ran"), [(1, 1, [1, 2, 3, 4]), (3, 1, [1, 3]), (2, 2, [2, 4]), (0, 1, [])]
)
def test_it_runs_at_the_first_validation_and_then_every_so_many_steps(sana_folder, tmp_path, every, interval, ran):
    own, page = light(every=every), LivePage(0)
    trainer = fitted(sana_folder, tmp_path, own, page, val_check_interval=interval)
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["split"] == "validation" and NAME in row["figures"]] == ran
    assert [row["step"] for row in rows if row["split"] == "validation"] == [*range(interval, 5, interval)]
    assert "test/hypernetwork/benchmark/light" in trainer.callback_metrics
    page = (tmp_path / "live.html").read_text()
    assert ("<h2>Benchmarks</h2>" in page) == bool(ran) and (
        'aria-label="benchmark light, red by step"' in page
    ) == bool(ran)


def test_training_is_bit_equal_with_and_without_the_benchmark(sana_folder, tmp_path):
    def state(*callbacks):
        torch.manual_seed(5)
        threads = torch.get_num_threads()
        trainer = fitted(sana_folder, tmp_path, *callbacks)
        method = trainer.lightning_module
        assert not any(part.training for part in method.modules()) and torch.get_num_threads() == threads
        return [p.detach().clone() for p in method.trainable().values()], torch.get_rng_state()

    (plain, before), (with_it, after) = state(), state(light())
    assert any(bool(weight.any()) for weight in plain)
    assert all(torch.equal(a, b) for a, b in zip(plain, with_it, strict=True)) and torch.equal(before, after)


def test_best_adapter_and_early_stop_can_monitor_a_benchmark(sana_folder, tmp_path):
    logged, stop = Logged(), EarlyStop(NAME, min_delta=1e9, patience=1)
    trainer = fitted(sana_folder, tmp_path, light(every=2), AdapterCheckpoint(NAME), stop, logged, max_steps=9)
    assert [step for step, _ in logged.rows] == [1, 2]  # the second figure is not better by so much
    values = [row[NAME] for _, row in logged.rows]
    view = load_adapter(tmp_path / "adapter-best", sana(sana_folder)).view
    assert torch.equal(view.proj_out.lora_B["hypernoise"].weight, logged.weights[values.index(max(values))])
    assert NAME in stop.why and trainer.global_step == 2


def test_a_validation_without_the_benchmark_is_ignored(sana_folder, tmp_path):
    stop, best = EarlyStop(NAME, min_delta=1e9, patience=2), AdapterCheckpoint(NAME)
    first = fitted(sana_folder, tmp_path, light(every=3), best, stop, max_steps=5)
    assert first.global_step == 5 and stop.wait_count == 1  # at 1 the first, at 3 no better; not at 2, 4 and 5
    first.save_checkpoint(tmp_path / "5.ckpt")
    own, again, going_on = light(every=3), Logged(), EarlyStop(NAME, min_delta=1e9, patience=2)
    options = {"max_steps": 8, "checkpoint": tmp_path / "5.ckpt"}
    last = fitted(sana_folder, tmp_path, own, AdapterCheckpoint(NAME), going_on, again, **options)
    assert last.global_step == 6 and NAME in going_on.why  # the resumed run goes on to count
    straight = Logged()
    fitted(sana_folder, tmp_path / "straight", light(every=3), straight, max_steps=6)
    figures = dict(straight.rows)
    assert again.rows[-1][1][NAME] == figures[6][NAME] and NAME in figures[1]


def test_with_every_0_its_figure_cannot_be_monitored(sana_folder, tmp_path):
    with pytest.raises(ValueError, match="nothing is logged as"):
        fitted(sana_folder, tmp_path, light(every=0), AdapterCheckpoint(NAME))


def test_limits_of_the_trainer_limit_the_benchmark(sana_folder, tmp_path):
    own = light()
    fitted(sana_folder, tmp_path, own, limit_val_batches=1, limit_test_batches=2)
    assert len({index for batch in own.benchmark.seen[:2] for index in batch}) == 2
    assert own.figures["base"]["score"]["prompts"] == 4


def test_errors_are_raised_before_training(sana_folder, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="gone: no such file"):
        light(metadata=str(tmp_path / "gone"))
    for options, said in (
        ({"every": -1}, "every is 0 or more"),
        ({"prompts": 0}, "prompts at least 1"),
    ):
        with pytest.raises(ValueError, match=said):
            light(**options)
    for name in ("", "a/b"):
        with pytest.raises(ValueError, match="a word without a slash"):
            RunBenchmark(Brightnesses(), name)
    with pytest.raises(ValueError, match="two are called 'light'"):
        fitted(sana_folder, tmp_path, light(), light(every=0))
    dark = [*PROMPTS[:2], PROMPTS[2].__class__("a dark ring", index=2)]
    monkeypatch.setattr(Prompts, "measured_on", dark)
    logged = Logged()
    with pytest.raises(
        ValueError, match=r"Brightnesses cannot score 1 of 3 prompts; the first, 'a dark ring', is dark"
    ):
        fitted(sana_folder, tmp_path, light(every=0), logged)
    assert not logged.rows  # before the first validation, though it runs at the test alone
    monkeypatch.setattr(Brightnesses, "missing", lambda self: "a lamp")
    with pytest.raises(ValueError, match="RunBenchmark light: Brightnesses cannot score; missing is a lamp"):
        light()


@pytest.mark.slow
def test_two_processes_have_the_figures_of_one(sana_folder, tmp_path):
    """Seven prompts, and five of them: neither number is even."""
    command = [sys.executable, "-m", "tests.benchmarked", str(sana_folder), str(tmp_path)]
    done = two_processes.run(command, ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    two = [torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1)]
    threads = torch.get_num_threads()
    one = figures(sana_folder, tmp_path / "one")
    torch.set_num_threads(threads)
    assert {"validation/base/benchmark/whole", "validation/hypernetwork/benchmark/part/red"} <= set(one["rows"][0][1])
    for each in two:
        for (step, own), (wanted_step, wanted) in zip(each["rows"], one["rows"], strict=True):
            assert step == wanted_step and own == pytest.approx(wanted, abs=1e-4)
        assert each["test"] == pytest.approx(one["test"], abs=1e-4)
        for name, found in each["found"].items():
            for method in ("base", "hypernetwork"):
                own, wanted = found[method]["score"], one["found"][name][method]["score"]
                assert (own["prompts"], own["images"]) == (wanted["prompts"], wanted["images"]) == (7, 14)
                assert own["interval"] == pytest.approx(wanted["interval"], abs=1e-4)
                assert own["tags"] == pytest.approx(wanted["tags"], abs=1e-4)
