"""The command compare: results, resuming, shards, refusals and messages."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean

import pyarrow.parquet as pq
import pytest
import torch
import yaml

from hypernoise_pl.__main__ import main
from hypernoise_pl.adapters.files import save_adapter
from hypernoise_pl.compare.config import shard_of
from hypernoise_pl.config.files import PACKAGE
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.data.subset import stratified_subset
from hypernoise_pl.generators.sana_sprint import SanaSprint
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.generator_lora import GeneratorLora
from hypernoise_pl.lora.view import LoraOptions
from hypernoise_pl.report.growing import Growing
from hypernoise_pl.report.page import SO_FAR
from hypernoise_pl.report.results import Results
from hypernoise_pl.report.rows import ENSEMBLES
from hypernoise_pl.runs.run_folder import OUTPUT_VARIABLE
from hypernoise_pl.types import Prompt
from tests.tiny import randomise

SEARCH = "hypernoise_pl.search."
METHODS = [
    {"name": "none"},
    {"name": "hypernetwork", "start": "hypernetwork"},
    {"name": "random", "search": {"class_path": SEARCH + "random_search.RandomSearch"}, "budgets": [2, 6]},
    {
        "name": "random_refined",
        "search": {"class_path": SEARCH + "random_search.RandomSearch"},
        "budgets": [6],
        "start": "hypernetwork",
    },
    {"name": "reno", "search": {"class_path": SEARCH + "reno.ReNO"}, "budgets": [3]},
    {
        "name": "ranked",
        "search": {"class_path": SEARCH + "random_search.RandomSearch"},
        "budgets": [5],
        "verifier": "ensemble_rank",
    },
    {
        "name": "steering",
        "search": {"class_path": SEARCH + "steering.Steering"},
        "budgets": [8],
        "steps": 2,
        "verifier": "clip",
    },
]
LABELS = ["none", "hypernetwork", "random-2", "random-6", "random_refined", "reno", "ranked", "steering"]
TIMED = {"seconds"}  # columns that differ between runs
WEIGHTS = PACKAGE / "shapes" / "weights"


def configure(path: Path, methods=METHODS, **options) -> str:
    settings = {"prompts": 6, "seeds": 2, "unit_size": 4, "methods": methods, **options}
    path.write_text(yaml.safe_dump({"compare": settings}))
    return str(path)


@pytest.fixture(scope="module")
def adapters(tmp_path_factory) -> dict[str, Path]:
    """A hypernetwork and a fine-tuned generator of the shapes world, with weights that are not zero."""
    folder = tmp_path_factory.mktemp("adapters")
    generator = SanaSprint(str(WEIGHTS / "generator"), components="hypernoise_pl.shapes.models", max_sequence_length=20)
    for name, kind in (("noise", NoiseHypernetwork), ("generator", GeneratorLora)):
        adapted = kind(generator, LoraOptions(rank=4, alpha=1.0))
        randomise(adapted)
        save_adapter(adapted, folder / name)
    return {"noise": folder / "noise", "generator": folder / "generator"}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(OUTPUT_VARIABLE, raising=False)


def compare(*arguments: str) -> int:
    return main(["compare", *arguments])


def results(folder: Path) -> list[dict]:
    """All rows, without timed columns."""
    rows = pq.read_table(folder / "results.parquet").to_pylist()
    return [{key: value for key, value in row.items() if key not in TIMED} for row in rows]


def assert_alike(rows: list[dict], others: list[dict]) -> None:
    """Check rows for equality up to rounding of scores."""
    for one, other in zip(rows, others, strict=True):
        for key, value in other.items():
            assert one[key] == (pytest.approx(value, rel=1e-3, abs=1e-3) if isinstance(value, float) else value), key


def pictures(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.png")}


@pytest.fixture(scope="module")
def whole(adapters, tmp_path_factory) -> Path:
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    config = configure(folder / "methods.yaml")
    assert main(["compare", f"--config={config}", f"--adapter={adapters['noise']}", f"--output={folder}"]) == 0
    return folder


def test_a_row_and_a_picture_for_every_image(whole):
    rows = results(whole)
    labels = list(dict.fromkeys(row["label"] for row in rows))
    assert labels == LABELS
    assert len({(row["label"], row["prompt"], row["seed"]) for row in rows}) == len(rows) == len(labels) * 6 * 2
    assert set(pictures(whole)) == {row["image"] for row in rows}
    spent = {row["label"]: (row["nfe"], row["nfe_backward"], row["decodes"], row["verified"]) for row in rows}
    assert spent["none"] == (1, 0, 1, 0)
    assert spent["hypernetwork"] == (2, 0, 1, 0)
    assert spent["random-6"] == (6, 0, 6, 6)
    assert spent["random_refined"] == (6, 0, 3, 3)
    assert spent["reno"] == (3, 3, 3, 3)
    assert spent["ranked"] == (5, 0, 6, 5)  # the winner is decoded once more
    assert spent["steering"] == (8, 0, 8, 8)
    reward = {label: [row["reward"] for row in rows if row["label"] == label] for label in labels}
    for larger, smaller in (("random-6", "random-2"), ("random-2", "none")):  # but for rounding in other batches
        assert all(more >= less - 1e-4 for more, less in zip(reward[larger], reward[smaller], strict=True))


def test_the_summary_and_the_report(whole):
    summary = json.loads((whole / "summary.json").read_text())
    methods = summary["methods"]
    for figures in methods.values():
        assert {"judge", "rewards", "diversity", "nfe", "nfe_backward", "seconds_per_image", "interval"} <= set(figures)
        assert figures["images"] == 12 and figures["prompts"] == 6
        assert figures["interval"] is None  # one prompt per tag gives no interval
    assert methods["none"]["gain"] == 0
    assert set(methods["none"]["judge"]) == {
        "mean", "single_object", "two_object", "counting", "colors", "position", "color_attr"
    }  # fmt: skip
    page = (whole / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)|url\((?!#)', page)  # no network
    assert page.count("<svg") == 2 and page.count("data:image/png;base64,") == 6 * len(methods)
    written = (whole / "report.md").read_text()
    for label in methods:
        assert f"| {label} |" in written and label in page
    assert "| random_refined | random-6 | 6 | 6 | 6 |" in written  # the same search from either noise


@pytest.mark.slow
def test_a_killed_comparison_continues_with_the_same_results(whole, adapters, tmp_path):
    config = configure(tmp_path / "methods.yaml")
    command = ["compare", f"--config={config}", f"--adapter={adapters['noise']}", "--output=again"]
    process = subprocess.Popen([sys.executable, "-m", "hypernoise_pl", *command], stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 120
    while len(list(Path("again/parts").glob("*.parquet"))) < 5 and time.monotonic() < limit:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    begun = {file.name: file.stat().st_mtime_ns for file in Path("again/parts").glob("*.parquet")}
    assert 5 <= len(begun) < 24 and not Path("again/summary.json").exists()
    assert compare(*command[1:]) == 0
    assert results(Path("again")) == results(whole)
    assert pictures(Path("again")) == pictures(whole)
    assert all(Path("again/parts", name).stat().st_mtime_ns == when for name, when in begun.items())
    assert not list(Path("again").rglob("*.partial"))


@pytest.mark.slow
def test_two_processes_at_once_make_the_same_report(whole, adapters, tmp_path):
    config = configure(tmp_path / "methods.yaml")
    command = [sys.executable, "-m", "hypernoise_pl", "compare", f"--config={config}", "--output=both"]
    command += [f"--adapter={adapters['noise']}"]
    ranks = [{"RANK": str(rank), "WORLD_SIZE": "2"} for rank in (0, 1)]  # the environment that torchrun sets
    threads = {"OMP_NUM_THREADS": "1"}
    both = [subprocess.Popen(command, env={**os.environ, **rank, **threads}, stderr=subprocess.PIPE) for rank in ranks]
    said = [process.communicate(timeout=300)[1].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert pictures(Path("both")).keys() == pictures(whole).keys()
    assert_alike(results(Path("both")), results(whole))  # one thread sums in another order than two


def test_shards_run_one_after_the_other(whole, adapters, capsys):
    config = configure(Path("methods.yaml"))
    command = [f"--config={config}", f"--adapter={adapters['noise']}", "--output=halves"]
    assert compare(*command, "--shard=1/2") == 0
    assert "shard 1 of 2 is done" in capsys.readouterr().out
    assert not Path("halves/summary.json").exists()
    page = Path("halves/report.html").read_text()
    assert "Unfinished: 0 of 24 units" in page and "every gain is against none, which is not done" in page
    growing("halves")
    assert "Unfinished: 12 of 24 units" in Path("halves/report.html").read_text()
    assert compare(*command, "--shard=0/2") == 0
    assert results(Path("halves")) == results(whole)
    page = Path("halves/report.html").read_text()
    assert "Unfinished" not in page and "location.reload" not in page and not Path("halves", SO_FAR).exists()


def growing(folder: str) -> None:
    Growing(Results(Path(folder)), LABELS, 3, "none", "some words", every=0)()


def test_the_report_of_an_unfinished_comparison_has_finished_rows_and_progress(whole):
    shutil.copytree(whole, "part")
    for name in ("summary.json", "report.html", "parts/ranked@00001.parquet"):
        Path("part", name).unlink()
    for part in Path("part/parts").glob("steering@*"):
        part.unlink()
    growing("part")
    page, summary = Path("part/report.html").read_text(), json.loads(Path("part", SO_FAR).read_text())
    assert "Unfinished: 20 of 24 units" in page and "ranked (2 of 3)." in page and "Not begun: 1 row." in page
    assert "location.reload()" in page and 'http-equiv="refresh"' in page
    final = json.loads((whole / "summary.json").read_text())["methods"]
    known = [name for name in final["none"] if name not in ("kid", "paired_gain", "share_of_best_gain", "cost_ratio")]
    assert [*summary["methods"]] == LABELS[:6] and (summary["done"], summary["units"]) == (20, 24)
    for label, figures in summary["methods"].items():
        assert {name: figures[name] for name in known} == {name: final[label][name] for name in known}
        assert f"<td>{label}</td>" in page
    assert "<td>ranked</td>" not in page and "<td>steering</td>" not in page
    # after the last unit only the last process writes the page
    shutil.copytree(whole, "all")
    before = Path("all/report.html").read_bytes()
    growing("all")
    assert Path("all/report.html").read_bytes() == before and not Path("all", SO_FAR).exists()
    assert not list(whole.glob(SO_FAR)) and not list(Path("part").rglob("*.partial"))


def test_pages_are_written_at_most_once_per_interval(whole):
    shutil.copytree(whole, "part")
    Path("part/parts/ranked@00001.parquet").unlink()
    writes = Growing(Results(Path("part")), LABELS, 3, "none", "some words", every=3600)
    for _ in range(2):
        writes()
        before = Path("part/report.html").stat().st_mtime_ns
    writes()
    assert Path("part/report.html").stat().st_mtime_ns == before


def test_without_output_the_same_command_continues_the_unfinished_folder(adapters, capsys):
    config = configure(Path("methods.yaml"), METHODS[:2], seeds=1)
    command = [f"--config={config}", f"--adapter={adapters['noise']}"]
    assert compare(*command) == 0
    (first,) = Path("runs/compare").iterdir()
    (first / "summary.json").unlink()  # as if it had been killed before its end
    next((first / "parts").iterdir()).unlink()
    assert compare(*command) == 0
    assert list(Path("runs/compare").glob("*/summary.json")) == [first / "summary.json"]
    assert f"run folder {first}" in capsys.readouterr().out


def test_equal_seconds_instead_of_equal_evaluations(adapters):
    methods = [METHODS[0], {k: v for k, v in METHODS[2].items() if k != "budgets"}, METHODS[4]]
    config = configure(Path("methods.yaml"), methods, seeds=1, unit_size=6)
    assert compare(f"--config={config}", "--output=timed", "--budget-seconds=0.05") == 0
    spent = {row["label"]: row["nfe"] + 2 * row["nfe_backward"] for row in results(Path("timed"))}
    speeds = {name: json.loads(Path(f"timed/speed-{name}.json").read_text()) for name in ("random", "reno")}
    for name, speed in speeds.items():
        wanted = int(0.05 / speed["seconds_per_nfe"])
        assert spent[name] == max(1, wanted) * (3 if name == "reno" else 1)
    assert spent["none"] == 1


def test_a_fine_tuned_generator_is_compared(adapters):
    methods = [METHODS[0], {"name": "tuned", "start": "hypernetwork", "adapter": str(adapters["generator"])}]
    config = configure(Path("methods.yaml"), methods, seeds=1)
    assert compare(f"--config={config}", "--output=tuned") == 0
    rows = results(Path("tuned"))
    assert {row["nfe"] for row in rows} == {1}
    base, tuned = ([row["reward"] for row in rows if row["label"] == label] for label in ("none", "tuned"))
    assert base != pytest.approx(tuned)


RANDOM = {"class_path": SEARCH + "random_search.RandomSearch"}


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        ([{"name": "none"}, {"name": "none"}], "duplicate method name 'none'"),
        ([{"name": "a b"}], "invalid method name 'a b'"),
        ([{"name": ".."}], "invalid method name '..'"),
        ([{"name": "nonee"}], "compare.base: no method is called 'none' (did you mean 'nonee'?)"),
        ([{"name": "none"}, {"name": "x", "search": RANDOM, "budgets": [0]}], "needs a budget of 1 NFE at least"),
        (
            [
                {"name": "none"},
                {"name": "x", "search": {"class_path": SEARCH + "zero_order.ZeroOrder"}, "budgets": [2]},
            ],
            "method 'x': ZeroOrder needs a budget of 3 NFE at least, got 2",
        ),
        ([{"name": "none"}, {"name": "x", "search": RANDOM, "verifier": "clpi"}], "'clpi' (did you mean 'clip'?)"),
        (
            [{"name": "none"}, {"name": "x", "search": {"class_path": SEARCH + "reno.ReNO"}, "verifier": "judge"}],
            "ReNO needs a gradient, but 'judge' has none",
        ),
        (
            [{"name": "none"}, {"name": "x", "search": {"class_path": SEARCH + "steering.Steering"}}],
            "method 'x': steering acts between steps",
        ),
        ([{"name": "none"}, {"name": "x", "start": "hypernetwork"}], "no fit was found"),
        ([{"name": "none"}, {"name": "x", "start": "hypernetwork", "adapter": "gone"}], "adapter gone: no such folder"),
        ([{"name": "none"}, {"name": "x", "serch": RANDOM}], "'serch' (did you mean 'search'?)"),
        ([{"name": "none"}, {"name": "x", "search": RANDOM, "budgets": [2, 2]}], "'x': duplicate budget 2"),
        ([{"name": "none", "search": RANDOM, "budgets": [2, 3]}], "compare.base: method 'none' has 2 budgets"),
        ([{"name": "none"}, {"name": "x", "adapter": "mine"}], "method 'x': start: gaussian does not use its adapter"),
        (
            [{"name": "none"}, {"name": "x", "search": RANDOM, "budgets": [2, 3]}, {"name": "x-2"}],
            "two rows have the label 'x-2'",
        ),
    ],
)
def test_a_wrong_comparison_is_refused_in_one_line_and_nothing_is_written(methods, said, capsys):
    config = configure(Path("methods.yaml"), methods)
    assert compare(f"--config={config}", "--output=run") == 2
    error = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(error) == 1 and said in error[0], error
    assert not Path("run").exists()


def test_a_folder_of_another_comparison_is_refused_and_unchanged(whole, adapters, capsys):
    before = {file: file.read_bytes() for file in whole.rglob("*") if file.is_file()}
    config = configure(Path("methods.yaml"), seeds=1)
    assert compare(f"--config={config}", f"--adapter={adapters['noise']}", f"--output={whole}") == 2
    assert f"{whole} holds results with seeds=2, this run has 1; give another --output" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in whole.rglob("*") if file.is_file()} == before


def test_another_guidance_is_refused_in_the_same_folder_and_starts_a_new_one_without_output(capsys):
    config = configure(Path("methods.yaml"), METHODS[:1], seeds=1)
    weak, strong = (f"--model.generator.guidance_scale={scale}" for scale in (4.5, 40))
    assert compare(f"--config={config}", weak, "--output=run") == 0
    before = {file: file.read_bytes() for file in Path("run").rglob("*") if file.is_file()}
    assert compare(f"--config={config}", strong, "--output=run") == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.endswith(
        "run holds results with generator.guidance_scale=4.5, this run has 40.0; give another --output"
    )
    assert {file: file.read_bytes() for file in Path("run").rglob("*") if file.is_file()} == before

    assert compare(f"--config={config}", weak) == 0
    (first,) = Path("runs/compare").iterdir()
    (first / "summary.json").unlink()  # as if it had been interrupted
    time.sleep(1.1)  # a run folder is named by the second
    assert compare(f"--config={config}", strong) == 0
    (second,) = set(Path("runs/compare").iterdir()) - {first}
    assert not (first / "summary.json").exists() and (second / "summary.json").exists()
    reward = {folder: [row["reward"] for row in results(folder)] for folder in (Path("run"), second)}
    assert reward[Path("run")] != pytest.approx(reward[second])


def test_another_batch_size_and_device_continue_the_same_folder():
    config = configure(Path("methods.yaml"), METHODS[:1], seeds=1)
    assert compare(f"--config={config}", "--output=run") == 0
    Path("run/summary.json").unlink()
    begun = {file.name: file.stat().st_mtime_ns for file in Path("run/parts").iterdir()}
    next(Path("run/parts").iterdir()).unlink()
    assert compare(f"--config={config}", "--output=run", "--compare.batch_size=3", "--trainer.accelerator=cpu") == 0
    assert Path("run/summary.json").exists()
    kept = [name for name, when in begun.items() if Path("run/parts", name).stat().st_mtime_ns == when]
    assert len(kept) == len(begun) - 1


def test_seconds_of_another_number_of_threads_are_reported(monkeypatch):
    """The same command goes on with the threads that are free now; its rows' seconds are no longer of one kind."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # leaves the number of threads as this test sets it
    config, found = configure(Path("methods.yaml"), METHODS[:1], seeds=1), torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            assert compare(f"--config={config}", "--output=run") == 0
            about = json.loads(Path("run/summary.json").read_text())["description"]
            assert ("seconds are of several devices (cpu with 1 thread, cpu with 2 threads)" in about) == (threads > 1)
            Path("run/summary.json").unlink()
            next(Path("run/parts").iterdir()).unlink()
    finally:
        torch.set_num_threads(found)


def test_a_comparison_computes_in_the_trainers_precision(capsys):
    config = configure(Path("methods.yaml"), METHODS[:1], prompts=4, seeds=1)
    rewards = {}
    for precision in ("32-true", "bf16-mixed"):
        assert compare(f"--config={config}", f"--trainer.precision={precision}", f"--output={precision}") == 0
        rewards[precision] = [row["reward"] for row in results(Path(precision))]
    difference = max(abs(a - b) for a, b in zip(*rewards.values(), strict=True))
    assert 1e-5 < difference < 0.5  # bfloat16's rounding, where float32's is below
    capsys.readouterr()
    assert compare(f"--config={config}", "--trainer.precision=bf16-mixed", "--output=32-true") == 2
    assert "precision" in capsys.readouterr().err
    assert compare(f"--config={config}", "--trainer.precision=64-true", "--output=other") == 2
    assert "trainer.precision 64-true converts all weights" in capsys.readouterr().err


def test_a_damaged_folder_is_not_continued():
    config = configure(Path("methods.yaml"), METHODS[:1], seeds=1)
    damaged = Path("runs/compare/20200101-000000/comparison.json")
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{")
    assert compare(f"--config={config}") == 0
    assert len(list(Path("runs/compare").glob("*/summary.json"))) == 1 and damaged.read_text() == "{"


def test_a_verifier_may_not_have_the_name_of_a_reward(capsys):
    verifier = {"clip": {"class_path": "hypernoise_pl.rewards.pixels.JPEGSize"}}
    config = configure(Path("methods.yaml"), METHODS[:1], verifiers=verifier)
    assert compare(f"--config={config}", "--output=run") == 2
    assert "compare.verifiers: the name 'clip' is already taken; choose another" in capsys.readouterr().err


def test_an_adapter_of_another_generator_is_refused(sana_folder, capsys):
    other = SanaSprint(str(sana_folder), max_sequence_length=20)
    save_adapter(NoiseHypernetwork(other, LoraOptions(rank=2)), Path("other"))
    config = configure(Path("methods.yaml"))
    elsewhere = "--model.generator.model=${package:shapes/weights/generator}"
    assert compare(f"--config={config}", "--adapter=other", elsewhere, "--output=run") == 2
    assert "use its own generator" in capsys.readouterr().err
    assert not Path("run").exists()


def test_an_empty_prompt_file_and_shards_without_a_folder(capsys):
    Path("empty.txt").write_text("\n\n")
    flags = ["--data=hypernoise_pl.data.text.TextPrompts", "--data.train=empty.txt"]
    assert compare(*flags, "--output=run") == 2
    assert "empty.txt: empty" in capsys.readouterr().err
    assert compare("--shard=0/2") == 2
    assert "need a common folder" in capsys.readouterr().err
    for shard in ("2/2", "1", "a/b"):
        with pytest.raises(ConfigError, match="must be number/count"):
            shard_of(shard)
    assert shard_of(None, {"RANK": "1", "WORLD_SIZE": "4"}) == (1, 4) and shard_of(None, {}) == (0, 1)


def test_a_stratified_subset_has_every_tag():
    prompts = [Prompt(f"{tag} {k}", tag, index=4 * t + k) for t, tag in enumerate("abc") for k in range(4)]
    chosen = stratified_subset(prompts, 7)
    assert len(chosen) == 7 and [p.index for p in chosen] == sorted(p.index for p in chosen)
    assert sorted(sum(p.tag == tag for p in chosen) for tag in "abc") == [2, 2, 3]
    assert stratified_subset(prompts, None) == stratified_subset(prompts, 99) == prompts


@pytest.mark.parametrize("counts", [(10, 1), (10, 2, 3), (1, 1, 9)])
def test_a_stratified_subset_has_the_requested_size_where_tags_are_uneven(counts):
    prompts = [Prompt(f"{tag} {k}", str(tag)) for tag, count in enumerate(counts) for k in range(count)]
    for wanted in range(1, len(prompts) + 1):
        chosen = stratified_subset(prompts, wanted)
        assert len({prompt.text for prompt in chosen}) == len(chosen) == wanted
        if wanted >= len(counts):
            assert len({prompt.tag for prompt in chosen}) == len(counts)


@pytest.mark.parametrize(
    "flag", ["model.steps=2", "model.images_per_prompt=3", "trainer.limit_test_batches=1", "trainer.overfit_batches=1"]
)
def test_a_flag_that_compare_ignores_is_refused(flag, capsys):
    assert compare(f"--{flag}") == 2
    assert f"--{flag.partition('=')[0]}: compare ignores it; set compare." in capsys.readouterr().err


def test_other_steps_of_the_run_than_of_the_methods_are_reported(capsys):
    config = configure(Path("methods.yaml"), METHODS[:1], prompts=2, seeds=1)
    Path("steps.yaml").write_text("model: {init_args: {steps: 4}}\n")
    assert compare(f"--config={config}", "--config=steps.yaml", "--output=run") == 0
    assert "compare: the run is of 4 steps, every method here of 1; compare.methods sets" in capsys.readouterr().out


def test_batch_size_changes_no_result(whole, adapters):
    config = configure(Path("methods.yaml"), batch_size=3)
    assert compare(f"--config={config}", f"--adapter={adapters['noise']}", "--output=small") == 0
    assert_alike(results(Path("small")), results(whole))


def test_a_method_that_cannot_run_is_skipped_with_a_line(monkeypatch, capsys):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    rewriting = {"class_path": SEARCH + "prompt_optimisation.PromptOptimisation"}
    methods = [METHODS[0], {"name": "rewritten", "search": rewriting, "budgets": [5]}]
    config = configure(Path("methods.yaml"), methods, seeds=1)
    assert compare(f"--config={config}", "--output=run") == 0
    assert "compare: rewritten is left out: " in capsys.readouterr().out
    assert {row["label"] for row in results(Path("run"))} == {"none"}
    config = configure(Path("methods.yaml"), [{**methods[1], "name": "none"}])
    assert compare(f"--config={config}", "--output=other") == 2
    assert "is the base and cannot run" in capsys.readouterr().err


def test_searching_on_latents_decodes_the_winner_alone():
    method = {"name": "latent", "search": RANDOM, "budgets": [6], "verifier": "latent"}
    config = configure(Path("methods.yaml"), [METHODS[0], method], seeds=1)
    assert compare(f"--config={config}", "--output=run") == 0
    assert {(row["nfe"], row["decodes"], row["verified"]) for row in results(Path("run"))} == {(1, 1, 0), (6, 1, 6)}
    summary = json.loads(Path("run/summary.json").read_text())["methods"]
    assert summary["none"]["kid"] is None and summary["latent"]["kid"] is not None  # features measure fidelity


def test_no_verifiers_are_an_empty_mapping(capsys):
    assert compare("--compare.verifiers=null", f"--config={configure(Path('methods.yaml'), METHODS[:1])}") == 2
    assert "compare.verifiers: null; write {} for none" in capsys.readouterr().err


def test_ensemble_rank_ignores_rewards_of_weight_0_and_reverses_negative_ones():
    """With one member both ensembles choose alike, whichever way it counts; what weighs nothing has no say."""
    methods = [METHODS[0], *({"name": by, "search": RANDOM, "budgets": [6], "verifier": by} for by in ENSEMBLES)]
    config = configure(Path("methods.yaml"), methods)
    weights = [
        f"--model.reward_weights.{name}={weight}" for name, weight in (("clip", -1), ("pick", 0), ("image_reward", 0))
    ]
    assert compare(f"--config={config}", "--output=run", *weights) == 0
    rewards = {by: [row["reward"] for row in results(Path("run")) if row["label"] == by] for by in ENSEMBLES}
    assert rewards["ensemble_rank"] == pytest.approx(rewards["weighted"], rel=1e-4)
    assert compare(f"--config={config}", "--output=other", "--model.reward_weights.clip=0", *weights[1:]) == 2


def test_the_judge_searches_for_what_each_prompt_of_one_text_asks():
    asked = [("circle", "mean"), ("square", "mean"), ("star", "b")]
    prompts = [{"prompt": "a red circle", "tag": tag, "include": [{"class": name, "count": 1}]} for name, tag in asked]
    Path("prompts.json").write_text(json.dumps(prompts))
    Path("train.txt").write_text("a red star")
    sets = {
        split: {"own": {"class_path": "hypernoise_pl.data.files.PromptFile", "init_args": {"path": file}}}
        for split, file in (("train", "train.txt"), ("validation", "prompts.json"))
    }
    data = {"class_path": "hypernoise_pl.data.sets.PromptSets", "init_args": sets}
    Path("data.yaml").write_text(yaml.safe_dump({"data": data}))
    method = {"name": "oracle", "search": RANDOM, "budgets": [32], "verifier": "judge"}
    config = configure(Path("methods.yaml"), [METHODS[0], method], prompts=None)
    assert compare("--config=data.yaml", f"--config={config}", "--output=run") == 0
    found = {(row["label"], row["prompt"], row["seed"]): row["judge"] for row in results(Path("run"))}
    assert all(found["oracle", 0, seed] == 1 for seed in (0, 1))
    own = [fmean(found["none", prompt, seed] for prompt in of for seed in (0, 1)) for of in ((0, 1), (2,))]
    judged = json.loads(Path("run/summary.json").read_text())["methods"]["none"]["judge"]
    assert judged == {"mean": pytest.approx(fmean(own)), "tag_mean": own[0], "b": own[1]}


def test_a_budget_of_seconds_too_small_for_a_search_is_reported(capsys):
    methods = [METHODS[0], {"name": "walk", "search": {"class_path": SEARCH + "zero_order.ZeroOrder"}}]
    config = configure(Path("methods.yaml"), methods, prompts=1, seeds=1)
    assert compare(f"--config={config}", "--output=run", "--budget-seconds=1e-6") == 0
    said = "walk takes at least 3 evaluations per image, about"
    assert said in capsys.readouterr().out and said in Path("run/report.html").read_text()
    assert json.loads(Path("run/summary.json").read_text())["methods"]["none"]["kid"] is None
