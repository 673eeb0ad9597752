"""A benchmark of its own prompts, run at validations and in full at the test."""

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

Row = tuple[str, int, int, Prompt, Outcome]  # method, prompt's index, image's number


class RunBenchmark(L.Callback):
    """Makes the images of a benchmark's prompts, base and refined from the same noises, scores them and logs the means.

    There may be several, each with a name of its own. At a validation ``validation/hypernetwork/benchmark/NAME`` is
    logged, at the test ``test/...``, and the same of the base; the best adapter and an early stop may go by them. The
    base's images are the same whenever they are made: a fit scores them once. The prompts are split over processes, and
    the figures are those of one process. The Trainer's ``limit_val_batches`` and ``limit_test_batches`` hold for its
    prompts too.

    Args:
        benchmark: what scores images. Its models are on the CPU but while it runs.
        name: of the benchmark, in figures.
        metadata: its file of prompts; None for the prompts that the split itself has.
        every: optimiser steps between two runs, each at the next validation; 0 for the test alone.
        prompts: so many of its prompts at validation, evenly spaced; None for all. The test always has all.

    Raises:
        ValueError: if ``every`` or ``prompts`` is out of its range, the benchmark lacks what it needs, or a prompt what
            the benchmark reads; at the start of a fit, if two have one name, or there are fewer prompts than processes.
        FileNotFoundError: if there is no such file.
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
        self._next = 0  # step from which the next validation runs it
        self._step = -1  # of the newest validation that ran it
        self._base: list[Row] = []  # at validations
        self._trained = "hypernetwork"  # what trains, in words
        self.found: dict[str, dict[str, Any]] = {}  # of the newest run: method -> figures

    @property
    def state_key(self) -> str:
        """Key of its state in a checkpoint: each benchmark has its own; a changed one begins anew."""
        return self._generate_state_key(name=self.name, every=self.every, prompts=self.prompts)

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Check, before anything is trained, all that it will run on.

        Raises:
            ValueError: if another one has its name, a prompt lacks what the benchmark reads, or there are fewer prompts
                than processes.
        """
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        if any(isinstance(c, RunBenchmark) and c is not self and c.name == self.name for c in callbacks):
            raise ValueError(f"RunBenchmark: two are called {self.name!r}; give one of them another name")
        self._trained = pl_module.adapter.label
        if stage == "fit":  # a callback may be fitted with again; a checkpoint's own step comes later
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
        """The step from which it runs again."""
        return {"next": self._next}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where an interrupted run was."""
        self._next = state_dict["next"]

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Run on the fixed subset, if it is time."""
        step = trainer.global_step
        if trainer.sanity_checking or not self.every or (trainer.state.fn == "fit" and step < self._next):
            return
        self._next, self._step = (step // self.every + 1) * self.every, step
        rows = self._run(trainer, pl_module, self._prompts(trainer, "validation"), with_base=not self._base)
        self._base = self._base or [row for row in rows if row[0] == "base"]
        self._log(pl_module, [*self._base, *(row for row in rows if row[0] != "base")], "validation")

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Run in full."""
        rows = self._run(trainer, pl_module, self._prompts(trainer, "test"), with_base=True)
        self._log(pl_module, rows, "test")

    def rests(self, figure: str, step: int) -> bool:
        """Whether a figure is one of its own, and the validation at a step has left it out until a later one."""
        own = figure.startswith("validation/") and figure.split("/")[2:4] == ["benchmark", self.name]
        return own and self.every > 0 and self._step != step

    def table(self) -> str:
        """The newest run's figures in plain text, a column a method."""
        labels = [self._trained if name == "hypernetwork" else name for name in self.found]
        rows = [(f"benchmark {self.name}", *labels)]
        for figure in dict.fromkeys(figure for found in self.found.values() for figure in found):
            own = [found.get(figure, {}) for found in self.found.values()]
            rows.append((figure.replace("_", " "), *(_shown(each.get("mean")) for each in own)))
            tags = dict.fromkeys(tag for each in own for tag in each.get("tags", {}) if tag)
            if figure == "score":
                rows += [
                    (f"  {tag.replace('_', ' ')}", *(_shown(each["tags"].get(tag)) for each in own)) for tag in tags
                ]
        score = self.found["hypernetwork"]["score"]
        interval = in_words(score["interval"], ".3f")
        said = f"{self.benchmark.title} by {self.benchmark.judged_by()}, over {score['prompts']} prompts; "
        said += f"95 % interval of the {self._trained}'s score: {interval}. "
        said = fill(said + self.benchmark.caveat, 80, break_on_hyphens=False)
        return "\n".join([aligned(rows), "", said])

    def _prompts(self, trainer: Any, split: Any) -> list[Prompt]:
        """The prompts that a run of a split scores.

        Raises:
            ValueError: if one lacks what the benchmark reads.
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
    def _run(self, trainer: Any, module: Any, prompts: list[Prompt], with_base: bool) -> list[Row]:
        """Score the images of prompts, in all processes; every process gets all rows."""
        data: PromptDataModule = trainer.datamodule
        rows: list[Row] = []
        self.benchmark.to(module.device)
        done = 0
        with part(lambda: f"benchmark {self.name}, {done} of {len(prompts)} prompts"):
            for batch in data.eval_dataloader(prompts, f"prompts of {self.name}"):
                noise = module.eval_noise(batch, module.images_per_prompt)
                every = [prompt for prompt in batch for _ in range(module.images_per_prompt)]
                for name, strength in {**({"base": 0.0} if with_base else {}), "hypernetwork": 1.0}.items():
                    with trainer.precision_plugin.val_step_context():
                        images = module(every, noise, strength=strength).images
                    outcomes = self.benchmark(images, every)
                    numbers = [*range(module.images_per_prompt)] * len(batch)
                    rows += [(name, p.index, n, p, o) for n, p, o in zip(numbers, every, outcomes, strict=True)]
                done += len(batch) * trainer.world_size
        self.benchmark.cpu()
        return sorted((row for part in from_all_processes(rows) for row in part), key=lambda row: row[:3])

    def _log(self, module: Any, rows: Sequence[Row], split: str) -> None:
        self.found = {}
        for name in ("base", "hypernetwork"):
            own = [row for row in rows if row[0] == name]
            self.found[name] = summarise_outcomes([row[4] for row in own], [row[3] for row in own])
            for figure, found in self.found[name].items():
                if found["mean"] is not None:
                    end = "" if figure == "score" else f"/{figure}"
                    module.log(f"{split}/{name}/benchmark/{self.name}{end}", found["mean"])


def resting(trainer: Any, figure: str) -> bool:
    """Whether a logged figure is of a benchmark that has not run at this validation, and will at a later one."""
    every = (each for each in trainer.callbacks if isinstance(each, RunBenchmark))
    return any(each.rests(figure, trainer.global_step) for each in every)


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
