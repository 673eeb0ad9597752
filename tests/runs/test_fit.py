"""The main job in short: after a minute of training the ensemble's reward has risen, and nothing frozen has moved."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from hypernoise_pl.__main__ import main
from hypernoise_pl.config.files import PACKAGE
from hypernoise_pl.runs.run_folder import OUTPUT_VARIABLE

WEIGHTS = PACKAGE / "shapes" / "weights"


@pytest.mark.slow
def test_a_minute_of_training_raises_the_reward(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(OUTPUT_VARIABLE, raising=False)
    before = {file: file.read_bytes() for file in WEIGHTS.rglob("*.safetensors")}
    assert len(before) == 7
    short = ["--trainer.max_steps=180", "--model.lr_scheduler.total_steps=180", "--trainer.limit_val_batches=0"]
    assert main(["fit", *short, "--model.reference_search=null", "--output=run"]) == 0
    summary = json.loads(Path("run/summary.json").read_text())
    base, refined = summary["methods"]["base"], summary["methods"]["hypernetwork"]
    assert (summary["prompts"], summary["seeds"]) == (120, 4)
    assert refined["weighted_reward"] > base["weighted_reward"]
    assert refined["win_rate"] > 0.5
    assert all(tensor.isfinite().all() for tensor in load_file("run/adapter/adapter_model.safetensors").values())
    assert {file: file.read_bytes() for file in before} == before
