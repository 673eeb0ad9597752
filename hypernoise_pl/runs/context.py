"""The record that a command runs with: model, data, trainer, run folder and options."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from hypernoise_pl.compare.config import Comparison
from hypernoise_pl.config.options import Options
from hypernoise_pl.data.base import PromptDataModule
from hypernoise_pl.metrics.image_files import ImageFolder
from hypernoise_pl.metrics.judge import Judge
from hypernoise_pl.module import HyperNoiseModule
from hypernoise_pl.runs.run_folder import RunFolder
from hypernoise_pl.types import Prompt


@dataclass(frozen=True)
class PredictRequest:
    """The images that ``predict`` is asked for.

    Args:
        prompts: prompts of the flags, of their file or of the benchmark's file; empty for the test prompts.
        seeds: seed of each image of a prompt.
        layout: folder layout of the benchmark's images; None without a benchmark.
    """

    prompts: Sequence[Prompt]
    seeds: Sequence[int]
    layout: ImageFolder | None = None


@dataclass(frozen=True)
class RunContext:
    """The record that a command runs with.

    Args:
        model: generator, rewards and adapter.
        datamodule: prompts.
        trainer: Lightning Trainer; its callbacks are those of the configuration.
        judge: judge of the configuration; None without one.
        comparison: methods and prompts of ``compare``; None for other commands.
        description: purpose of the run, in a line.
        config_yaml: configuration as YAML, every default filled in and every ``${...}`` as it was written.
        options: flags of the command.
        folder: run folder.
        adapter: adapter folder, of the commands that measure one; None if ``compare`` has none.
        checkpoint: checkpoint file that ``fit`` continues; None for a new run.
        changes: differences of a continued run from its own configuration; empty without any.
        request: images that ``predict`` is asked for; None for other commands.
        callbacks: callbacks of ``fit`` beside those of the configuration.
    """

    model: HyperNoiseModule
    datamodule: PromptDataModule
    trainer: Any
    judge: Judge | None
    comparison: Comparison | None
    description: str
    config_yaml: str
    options: Options
    folder: RunFolder
    adapter: Path | None = None
    checkpoint: Path | None = None
    changes: str = ""
    request: PredictRequest | None = None
    callbacks: Sequence[Any] = field(default_factory=tuple)


def process_device(trainer: Any) -> torch.device:
    """The Trainer's device; under torchrun the GPU of this process."""
    device: torch.device = trainer.strategy.root_device
    if device.type == "cuda" and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device
