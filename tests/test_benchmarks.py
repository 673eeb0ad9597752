"""The benchmark of real models, with miniatures of the same classes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


def run(folder: Path, *arguments: str) -> list[dict]:
    command = [sys.executable, str(ROOT / "benchmarks" / "real_models.py"), "--output", str(folder), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = folder.glob("real_models-*.json")
    shown = file.with_suffix(".md").read_text()
    rows = json.loads(file.read_text())["rows"]
    assert shown.count("\n") == len(rows) + 2 and shown in done.stdout
    return rows


@pytest.mark.slow
def test_every_option_is_measured(tmp_path):
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


def test_what_is_live_is_what_an_operation_made_and_has_not_freed(monkeypatch):
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


def test_full_size_without_a_gpu_says_what_else_there_is():
    command = [sys.executable, str(ROOT / "benchmarks" / "real_models.py"), "--device=cpu"]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 2 and "full-size models need a GPU; --tiny" in done.stderr
