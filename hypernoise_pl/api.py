"""The Python API: build a run from a configuration, train it, load an adapter, make and score images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hypernoise_pl.adapters.files import load_weights
from hypernoise_pl.cli import score
from hypernoise_pl.cli.build import build
from hypernoise_pl.cli.quiet import quiet
from hypernoise_pl.config.options import Options
from hypernoise_pl.module import HyperNoiseModule
from hypernoise_pl.noise import gaussian, seed_of
from hypernoise_pl.runs.context import RunContext
from hypernoise_pl.runs.fit import fit
from hypernoise_pl.search.base import Search
from hypernoise_pl.system.files import lock_folder
from hypernoise_pl.types import Prompt, Rollout


@dataclass(frozen=True)
class Run:
    """A run of one configuration, in one process.

    Args:
        context: model, prompts, Trainer and run folder.
    """

    context: RunContext

    @property
    def model(self) -> HyperNoiseModule:
        """Generator, rewards and adapter."""
        return self.context.model

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.context.folder.path

    @property
    def adapter(self) -> Path:
        """The adapter folder: the one that was loaded, or the one that ``fit`` writes."""
        return self.context.adapter or self.folder / "adapter"

    def fit(self) -> dict[str, Any]:
        """Train, save the adapter, and measure it, as the command ``fit`` does.

        Returns:
            The contents of ``summary.json``; empty where nothing was measured.
        """
        with quiet(self.context.options.verbose), lock_folder(self.folder):
            return fit(self.context) or {}

    @torch.no_grad()
    def generate(
        self, prompts: Sequence[str], seeds: Sequence[int] = (0,), strength: float = 1.0, steps: int | None = None
    ) -> Rollout:
        """Make images, from the noises of ``predict``.

        Args:
            prompts: B prompts.
            seeds: N seeds, one an image; every prompt has the same noises.
            strength: share of the residual that is added; 0 is the base generator.
            steps: network evaluations per image; None for the model's.

        Returns:
            B x N images with their noises and scores, prompt after prompt.
        """
        repeated, noise = self._inputs(prompts, seeds)
        with self.context.trainer.precision_plugin.forward_context():
            rollout: Rollout = self.model(repeated, noise, strength, steps)
        return rollout

    def search(
        self, prompts: Sequence[str], method: Search, seeds: Sequence[int] = (0,), adapted: bool = False
    ) -> Rollout:
        """Search for better noises by the weighted rewards.

        Args:
            prompts: B prompts.
            method: search method, such as ``RandomSearch(16)``.
            seeds: N seeds, one a start noise.
            adapted: whether the search starts from the adapter's refined noise.

        Returns:
            The best image of each search, B x N, prompt after prompt.
        """
        repeated, noise = self._inputs(prompts, seeds)
        with self.context.trainer.precision_plugin.forward_context():
            return self.model.search(method, repeated, noise, adapted)

    def _inputs(self, prompts: Sequence[str], seeds: Sequence[int]) -> tuple[list[Prompt], torch.Tensor]:
        """Every prompt once a seed, and their noises [B x N, *Z], on the device."""
        self.model.to(self.context.trainer.strategy.root_device)
        repeated = [Prompt(text, index=index) for index, text in enumerate(prompts) for _ in seeds]
        noise = gaussian(self.model.generator.noise_shape, [seed_of(seed) for _ in prompts for seed in seeds])
        return repeated, noise.to(self.model.device)


def build_run(*configs: str | Path, values: Mapping[str, Any] | None = None, output: str | Path | None = None) -> Run:
    """Build a run to train.

    Args:
        *configs: YAML files or their short names, merged over ``fit``'s as ``--config`` does.
        values: dotted name -> value, as flags have them: ``{"trainer.max_steps": 100}``.
        output: run folder; None for a new one under ``runs/fit``.

    Raises:
        ConfigError: naming the file or key, and its error.
        FileNotFoundError: if a model or file is missing.
    """
    options = Options(config=[*map(str, configs)], output=None if output is None else Path(output))
    with quiet(options.verbose):
        return Run(build("fit", options, _flags(values)))


def load_run(adapter: str | Path, *configs: str | Path, values: Mapping[str, Any] | None = None) -> Run:
    """Load an adapter with the configuration that it was trained with.

    Args:
        adapter: adapter folder, such as ``runs/fit/TIME/adapter``.
        *configs: YAML files or their short names, merged over the adapter's own configuration.
        values: dotted name -> value, as flags have them.

    Raises:
        ConfigError: naming the file or key, and its error.
        FileNotFoundError: if the adapter, a model or a file is missing.
        ValueError: if a file is damaged.
    """
    options = Options(config=[*map(str, configs)], adapter=Path(adapter))
    with quiet(options.verbose):
        context = build("test", options, _flags(values))
    context.folder.remove_if_empty()  # nothing is measured in it
    load_weights(context.model.adapter, Path(adapter))
    return Run(context)


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
        images: folder or JSONL file of images.
        metadata: the benchmark's file of prompts; None for the file beside the images.
        output: run folder; None for a new one under ``runs/score``.
        values: dotted name -> value of the benchmark's configuration.

    Returns:
        The contents of ``summary.json``.

    Raises:
        ValueError: for an error in the configuration or the images.
        FileNotFoundError: if a file, folder or model is missing.
    """
    options = Options(
        benchmark=benchmark,
        images=Path(images),
        metadata=None if metadata is None else Path(metadata),
        output=None if output is None else Path(output),
    )
    return score.score_images(options, _flags(values)) or {}


def _flags(values: Mapping[str, Any] | None) -> list[str]:
    pairs = (values or {}).items()
    return [f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in pairs]
