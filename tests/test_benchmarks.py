"""The benchmark scripts, each in one round; real models in miniature."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


def script(name: str, *arguments: str) -> str:
    """What a script prints."""
    command = [sys.executable, str(ROOT / "benchmarks" / name), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run(folder: Path, *arguments: str) -> list[dict]:
    printed = script("real_models.py", "--output", str(folder), *arguments)
    (file,) = folder.glob("real_models-*.json")
    shown = file.with_suffix(".md").read_text()
    rows = json.loads(file.read_text())["rows"]
    assert shown.count("\n") == len(rows) + 2 and shown in printed
    return rows


ONE_ROUND = {
    "shapes.py": ["--images=8", "--rounds=1"],
    "training_step.py": ["--batch=4", "--rounds=8"],  # the first five steps do not count
    "search.py": ["--prompts=2", "--rounds=1", "--candidates=2"],
    "busy_machine.py": ["--steps=1", "--batch=4", "--rounds=1", "--setting=ours", "--busy=0"],
    "real_models.py": ["--tiny", "--model=sana_sprint", "--rounds=1", "--batch=1", "--rewards=1"],
}


def test_every_script_is_in_the_list_of_rounds():
    scripts = {file.name for file in (ROOT / "benchmarks").glob("*.py") if "__main__" in file.read_text()}
    assert scripts == set(ONE_ROUND)


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_ROUND)
def test_script_measures_in_one_round(name, tmp_path):
    writes = ["--output", str(tmp_path)] if name in ("busy_machine.py", "real_models.py") else []
    rows = [json.loads(line) for line in script(name, *ONE_ROUND[name], *writes).splitlines() if line.startswith("{")]
    assert rows
    for row in rows:
        assert all(value > 0 for key, value in row.items() if key.endswith(("_ms", "_per_second", "ratio", "seconds")))
    assert bool(writes) == bool(list(tmp_path.glob("*.json")))


@pytest.mark.slow
def test_all_memory_options_are_measured(tmp_path):
    rows = run(tmp_path, "--tiny", "--model=sana_sprint", "--rounds=1", "--batch=2", "--rewards=2")
    assert [row["options"] for row in rows] == ["plain", "checkpoint", "checkpoint+slicing"]
    for row in rows:
        assert row["train_seconds"] > 0 and row["tflop"] > 0
        assert row["images_per_second"] == pytest.approx(2 / row["train_seconds"])
        assert row["peak_gib"] is None and row["utilisation"] is None  # of a GPU


@pytest.mark.slow
def test_an_estimate_needs_less_memory_with_checkpointing_and_more_with_a_larger_batch(tmp_path):
    rows = run(tmp_path, "--tiny", "--estimate", "--model=flux_schnell", "--batch=2", "--batch=4")
    peaks = {(row["batch"], row["options"]): row["peak_gib"] for row in rows}
    assert peaks[2, "checkpoint"] < peaks[2, "plain"] < peaks[4, "plain"]
    assert all(peak > row["frozen_gib"] for peak, row in zip(peaks.values(), rows))
    assert all(0 < row["block_gib"] < row["spread_gib"] < row["peak_gib"] for row in rows)


def test_live_memory_counts_created_and_not_freed_tensors(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from real_models import LiveTensors

    weight = torch.empty(256, 256, device="meta")
    with LiveTensors([weight]) as live:
        kept = weight.t() @ weight  # the view is no memory, the product is
        assert live.now == live.peak == kept.nbytes
        del kept
        assert live.now == 0
        both = [weight + 1, weight + 2]
    assert live.now == live.peak == sum(tensor.nbytes for tensor in both)


def test_full_size_without_a_gpu_suggests_tiny_and_estimate():
    command = [sys.executable, str(ROOT / "benchmarks" / "real_models.py"), "--device=cpu"]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 2 and "full-size models need a GPU; --tiny" in done.stderr
