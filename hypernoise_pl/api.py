"""The Python API: a run is built from a configuration, trained, loaded, and asked for images."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hypernoise_pl.adapters.files import restore
from hypernoise_pl.cli import score
from hypernoise_pl.cli.commands import OUTPUT_VARIABLE, build, quiet
from hypernoise_pl.config.options import Options
from hypernoise_pl.module import HyperNoiseModule
from hypernoise_pl.noise import gaussian, seed_of
from hypernoise_pl.runs import commands as runs
from hypernoise_pl.search.base import Search
from hypernoise_pl.system.files import drop_if_empty, held
from hypernoise_pl.types import Prompt, Rollout


@dataclass(frozen=True)
class Run:
    """Model, prompts and Trainer of one configuration, in one process.

    Args:
        parts: what the configuration was built into: ``model``, ``datamodule``, ``trainer``.
        options: of the command that it stands for; ``folder`` is the run folder.
    """

    parts: Any
    options: Options

    @property
    def model(self) -> HyperNoiseModule:
        """Generator, rewards and what is trained."""
        model: HyperNoiseModule = self.parts.model
        return model

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.options.folder

    def fit(self) -> dict[str, Any]:
        """Train, save the adapter, and measure it, as the command ``fit`` does.

        Returns:
            What ``summary.json`` has.
        """
        with quiet(self.options.verbose), held(self.folder):
            runs.fit(self.parts, self.options)
        found: dict[str, Any] = self.options.result
        return found

    @torch.no_grad()
    def generate(
        self, prompts: Sequence[str], seeds: Sequence[int] = (0,), strength: float = 1.0, steps: int | None = None
    ) -> Rollout:
        """Make images, with the noises of ``predict``.

        Args:
            prompts: B texts.
            seeds: N, one an image; every prompt is given the same noises.
            strength: share of the residual to add; 0 is the base generator.
            steps: network evaluations an image; None for the model's.

        Returns:
            B x N images with their noises and scores, prompt after prompt.
        """
        asked, noise = self._asked(prompts, seeds)
        with self.parts.trainer.precision_plugin.forward_context():
            rollout: Rollout = self.model(asked, noise, strength, steps)
        return rollout

    def search(
        self, prompts: Sequence[str], method: Search, seeds: Sequence[int] = (0,), adapted: bool = False
    ) -> Rollout:
        """Search for better noises by the weighted rewards.

        Args:
            prompts: B texts.
            method: of search, such as ``RandomSearch(16)``.
            seeds: N, one a start noise.
            adapted: whether the search begins where what was trained ends.

        Returns:
            The best of each search, B x N, prompt after prompt.
        """
        asked, noise = self._asked(prompts, seeds)
        with self.parts.trainer.precision_plugin.forward_context():
            return self.model.search(method, asked, noise, adapted)

    def _asked(self, prompts: Sequence[str], seeds: Sequence[int]) -> tuple[list[Prompt], torch.Tensor]:
        """Every prompt once a seed, and their noises [B x N, *Z], on the device."""
        self.model.to(self.parts.trainer.strategy.root_device)
        asked = [Prompt(text, index=index) for index, text in enumerate(prompts) for _ in seeds]
        noise = gaussian(self.model.generator.noise_shape, [seed_of(seed) for _ in prompts for seed in seeds])
        return asked, noise.to(self.model.device)


def build_run(*configs: str | Path, values: Mapping[str, Any] | None = None, output: str | Path | None = None) -> Run:
    """Build a run to train.

    Args:
        *configs: YAML files or their short names, merged over ``fit``'s, as ``--config`` takes them.
        values: dotted name -> value, as flags have them: ``{"trainer.max_steps": 100}``.
        output: run folder; None for a new one under ``runs/fit``.

    Raises:
        ConfigError: naming the file or key, and what is wrong with it.
        FileNotFoundError: if a model or file is missing.
    """
    options = Options(config=[*map(str, configs)], output=None if output is None else Path(output))
    return Run(_built("fit", options, values), options)


def load_run(adapter: str | Path, *configs: str | Path, values: Mapping[str, Any] | None = None) -> Run:
    """Load an adapter with the configuration that it was trained with.

    Args:
        adapter: its folder, such as ``runs/fit/TIME/adapter``.
        *configs: YAML files or their short names, merged over its own configuration.
        values: dotted name -> value, as flags have them.

    Raises:
        ConfigError: naming the file or key, and what is wrong with it.
        FileNotFoundError: if the adapter, a model or a file is missing.
        ValueError: if a file is damaged.
    """
    options = Options(config=[*map(str, configs)], adapter=Path(adapter))
    parts = _built("test", options, values)
    if options.made is not None:
        drop_if_empty(options.made)  # nothing is measured
    restore(parts.model.adapter, Path(adapter))
    return Run(parts, options)


def score_images(
    benchmark: str,
    images: str | Path,
    metadata: str | Path | None = None,
    output: str | Path | None = None,
    values: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Score images by a benchmark, as the command ``score`` does.

    Args:
        benchmark: short name in ``conf/benchmarks``, or a YAML file.
        images: folder or JSONL file of them.
        metadata: the benchmark's file of prompts; None for what stands beside the images.
        output: run folder; None for a new one under ``runs/score``.
        values: dotted name -> value of the benchmark's configuration.

    Returns:
        What ``summary.json`` has.
    """
    options = Options(
        benchmark=benchmark,
        images=Path(images),
        metadata=None if metadata is None else Path(metadata),
        output=None if output is None else Path(output),
    )
    score.score_images(options, _flags(values))
    found: dict[str, Any] = options.result
    return found


def _built(name: str, options: Options, values: Mapping[str, Any] | None) -> Any:
    try:
        with quiet(options.verbose):
            return build(name, options, _flags(values))
    finally:
        os.environ.pop(OUTPUT_VARIABLE, None)


def _flags(values: Mapping[str, Any] | None) -> list[str]:
    given = (values or {}).items()
    return [f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in given]
