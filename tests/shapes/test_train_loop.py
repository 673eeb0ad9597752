"""The training loop of the shapes world's own models."""

import json

import pytest
import torch
from torch import nn

from hypernoise_pl.shapes.training.loop import LoopOptions, train


class Stopped(Exception):
    """Stands for a machine that goes down."""


def line(folder, stop_at=None, steps=40):
    """Fit a line; returns the averaged weights."""
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def loss_at(step):
        if step == stop_at:
            raise Stopped
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        return (model(x)[:, 0] - x.sum(1)).square().mean(), {}

    result = train("line", model, loss_at, LoopOptions(steps, 0.05, average=0.9, save_every=10), folder)
    return result.weight.detach().clone()


def test_a_stopped_run_continues_to_the_same_weights(tmp_path):
    whole = line(tmp_path / "whole")
    with pytest.raises(Stopped):
        line(tmp_path / "stopped", stop_at=25)
    assert torch.equal(line(tmp_path / "stopped"), whole)


def test_training_learns_logs_and_leaves_no_partial_file(tmp_path):
    weight = line(tmp_path, steps=200)
    assert (weight - 1).abs().max() < 0.05
    rows = [json.loads(row) for row in (tmp_path / "line.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [50, 100, 150, 200]
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["line.jsonl", "line.pt"]
