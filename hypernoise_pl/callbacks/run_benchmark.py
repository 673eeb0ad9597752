"""A benchmark on its own prompts, at validations and in full at the test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import lightning as L
import torch

from hypernoise_pl.callbacks.gathering import from_all_processes
from hypernoise_pl.data.base import PromptDataModule
from hypernoise_pl.data.subset import stratified_subset
from hypernoise_pl.metrics.benchmark import Benchmark, Outcome, summarise_outcomes
from hypernoise_pl.metrics.intervals import in_words
from hypernoise_pl.progress import part
from hypernoise_pl.report.aligned import aligned
from hypernoise_pl.types import Prompt

BenchmarkRow = tuple[str, int, int, Prompt, Outcome]  # method, prompt index, number of the noise


class RunBenchmark(L.Callback):
    """Generates base and refined images of a benchmark's prompts from the same noises, scores them and logs the means.

    A run may have several, with different names. A validation logs ``validation/hypernetwork/benchmark/NAME`` and the
    same of the base, the test ``test/...``; AdapterCheckpoint and EarlyStop can monitor them. The base's images never
    change; a fit scores them once. The prompts are split over processes without an effect on the figures. The Trainer's
    ``limit_val_batches`` and ``limit_test_batches`` limit these prompts too.

    Args:
        benchmark: benchmark that scores the images; its models leave the CPU only while it runs.
        name: name in log keys.
        metadata: file of the benchmark's prompts; None for the prompts of the split.
        every: optimiser steps between two runs, each at the next validation; 0 for the test alone.
        prompts: number of prompts at validation, stratified by tag; None for all. The test has all.

    Raises:
        ValueError: if ``every`` or ``prompts`` is out of range, the benchmark cannot score, or a prompt lacks its
            metadata; at the start of a fit, if two have one name, or there are fewer prompts than processes.
        FileNotFoundError: if the file does not exist.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        name: str,
        metadata: str | None = None,
        every: int = 1,
        prompts: int | None = None,
    ) -> None:
        if every < 0 or (prompts is not None and prompts < 1):
            raise ValueError(f"RunBenchmark: every is 0 or more and prompts at least 1, got {every} and {prompts}")
        if not name or "/" in name:
            raise ValueError(f"RunBenchmark: name must be a word without a slash, got {name!r}")
        if (missing := benchmark.missing()) is not None:
            raise ValueError(f"RunBenchmark {name}: {type(benchmark).__name__} cannot score; missing is {missing}")
        self.benchmark = benchmark.eval().requires_grad_(False)
        self.name, self.every, self.prompts = name, every, prompts
        self._own = None if metadata is None else benchmark.read(Path(metadata), **benchmark.arguments)
        if self._own is not None:
            benchmark.check(self._own)
        self._next = 0  # first step of the next run
        self._step = -1  # step of the newest run
        self._base: list[BenchmarkRow] = []  # of validations
        self._trained = "hypernetwork"  # label of the trained method
        self.figures: dict[str, dict[str, Any]] = {}  # of the newest run: method -> figures

    @property
    def state_key(self) -> str:
        """Key of the state in a checkpoint; each benchmark has its own, and a changed one starts again."""
        return self._generate_state_key(name=self.name, every=self.every, prompts=self.prompts)

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Check all prompts before anything is trained.

        Raises:
            ValueError: if another callback has the name, a prompt lacks the benchmark's metadata, or there are fewer
                prompts than processes.
        """
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        if any(isinstance(c, RunBenchmark) and c is not self and c.name == self.name for c in callbacks):
            raise ValueError(f"RunBenchmark: two are called {self.name!r}; give one of them another name")
        self._trained = pl_module.adapter.label
        if stage == "fit":  # for a second fit; a checkpoint sets the step later
            self._next, self._step, self._base = 0, -1, []
        splits = {"fit": ("validation", "test"), "validate": ("validation",), "test": ("test",)}
        for split in splits.get(stage, ()):
            if split == "test" or self.every:
                count = len(self._prompts(trainer, split))
                if 0 < count < trainer.world_size:
                    raise ValueError(
                        f"RunBenchmark {self.name}: {count} {split} prompts for {trainer.world_size} processes; each "
                        "needs one at least"
                    )

    def state_dict(self) -> dict[str, Any]:
        """The first step of the next run."""
        return {"next": self._next}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the step of an interrupted run."""
        self._next = state_dict["next"]

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Run on a fixed subset, if due."""
        step = trainer.global_step
        if trainer.sanity_checking or not self.every or (trainer.state.fn == "fit" and step < self._next):
            return
        self._next, self._step = (step // self.every + 1) * self.every, step
        rows = self._run(trainer, pl_module, self._prompts(trainer, "validation"), with_base=not self._base)
        self._base = self._base or [row for row in rows if row[0] == "base"]
        self._log(pl_module, [*self._base, *(row for row in rows if row[0] != "base")], "validation")

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Run on all prompts."""
        rows = self._run(trainer, pl_module, self._prompts(trainer, "test"), with_base=True)
        self._log(pl_module, rows, "test")

    def rests(self, figure: str, step: int) -> bool:
        """Whether a log key is of this benchmark, and the validation at this step did not run it."""
        own = figure.startswith("validation/") and figure.split("/")[2:4] == ["benchmark", self.name]
        return own and self.every > 0 and self._step != step

    def table(self) -> str:
        """The figures of the newest run in plain text, a column per method."""
        labels = [self._trained if name == "hypernetwork" else name for name in self.figures]
        rows = [(f"benchmark {self.name}", *labels)]
        for name in dict.fromkeys(name for figures in self.figures.values() for name in figures):
            methods = [figures.get(name, {}) for figures in self.figures.values()]
            rows.append((name.replace("_", " "), *(_number(own.get("mean")) for own in methods)))
            tags = dict.fromkeys(tag for own in methods for tag in own.get("tags", {}) if tag)
            if name == "score":
                rows += [
                    (f"  {tag.replace('_', ' ')}", *(_number(own["tags"].get(tag)) for own in methods)) for tag in tags
                ]
        score = self.figures["hypernetwork"]["score"]
        interval = in_words(score["interval"], ".3f")
        text = f"{self.benchmark.title} by {self.benchmark.judged_by()}, over {score['prompts']} prompts; "
        text += f"95 % interval of the {self._trained}'s score: {interval}. "
        text = fill(text + self.benchmark.caveat, 80, break_on_hyphens=False)
        return "\n".join([aligned(rows), "", text])

    def _prompts(self, trainer: Any, split: Any) -> list[Prompt]:
        """The prompts of a split that a run scores.

        Raises:
            ValueError: if one lacks the benchmark's metadata.
        """
        data: PromptDataModule = trainer.datamodule
        prompts = self._own
        if prompts is None:
            prompts = data.evaluated_prompts(split)
            self.benchmark.check(prompts)
        if split == "validation":
            prompts = stratified_subset(prompts, self.prompts)
        limit = trainer.limit_test_batches if split == "test" else trainer.limit_val_batches
        whole = isinstance(limit, int)
        return stratified_subset(
            prompts, limit * data.eval_batch_size * trainer.world_size if whole else int(limit * len(prompts))
        )

    @torch.no_grad()
    def _run(self, trainer: Any, module: Any, prompts: list[Prompt], with_base: bool) -> list[BenchmarkRow]:
        """Score the images of prompts in all processes; every process gets all rows."""
        data: PromptDataModule = trainer.datamodule
        rows: list[BenchmarkRow] = []
        self.benchmark.to(module.device)
        done = 0
        with part(lambda: f"benchmark {self.name}, {done} of {len(prompts)} prompts"):
            for batch in data.eval_dataloader(prompts, f"prompts of {self.name}"):
                noise = module.eval_noise(batch, module.images_per_prompt)
                repeated = [prompt for prompt in batch for _ in range(module.images_per_prompt)]
                for name, strength in {**({"base": 0.0} if with_base else {}), "hypernetwork": 1.0}.items():
                    with trainer.precision_plugin.val_step_context():
                        images = module(repeated, noise, strength=strength).images
                    outcomes = self.benchmark(images, repeated)
                    numbers = [*range(module.images_per_prompt)] * len(batch)
                    rows += [(name, p.index, n, p, o) for n, p, o in zip(numbers, repeated, outcomes, strict=True)]
                done += len(batch) * trainer.world_size
        self.benchmark.cpu()
        return sorted((row for part in from_all_processes(rows) for row in part), key=lambda row: row[:3])

    def _log(self, module: Any, rows: Sequence[BenchmarkRow], split: str) -> None:
        self.figures = {}
        for name in ("base", "hypernetwork"):
            own = [row for row in rows if row[0] == name]
            self.figures[name] = summarise_outcomes([row[4] for row in own], [row[3] for row in own])
            for figure, values in self.figures[name].items():
                if values["mean"] is not None:
                    end = "" if figure == "score" else f"/{figure}"
                    module.log(f"{split}/{name}/benchmark/{self.name}{end}", values["mean"])


def resting(trainer: Any, figure: str) -> bool:
    """Whether a log key is of a benchmark that this validation did not run, and a later one will."""
    benchmarks = (callback for callback in trainer.callbacks if isinstance(callback, RunBenchmark))
    return any(benchmark.rests(figure, trainer.global_step) for benchmark in benchmarks)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
