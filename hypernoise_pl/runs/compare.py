"""``compare``: search methods and adapters on the same prompts and noises, in one table and one report."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hypernoise_pl.compare.config import Comparison, Entry, shard_of
from hypernoise_pl.compare.runner import ComparisonRunner
from hypernoise_pl.config.identity import first_difference
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.data.base import check_prompts
from hypernoise_pl.data.subset import stratified_subset
from hypernoise_pl.progress import phase, say
from hypernoise_pl.report.growing import Growing
from hypernoise_pl.report.page import write_report
from hypernoise_pl.report.results import Results
from hypernoise_pl.report.tables import many_methods
from hypernoise_pl.runs.context import RunContext, process_device
from hypernoise_pl.runs.judging import check_judge
from hypernoise_pl.training.precision import check_trainer


@dataclass(frozen=True)
class _Texts:
    """Texts of one comparison's report.

    Args:
        labels: label of each row.
        description: purpose, size and device of the comparison.
        credit: source of the judge; None without one.
    """

    labels: list[str]
    description: str
    credit: str | None


def compare(run: RunContext) -> dict[str, Any] | None:
    """Run the methods side by side; the process that finishes the last unit writes the report.

    Returns:
        The contents of ``summary.json``; None where other processes have units left.
    """
    comparison, model = run.comparison, run.model
    assert comparison is not None
    if importlib.util.find_spec("pyarrow") is None:
        raise ConfigError("compare needs the package pyarrow; pip install 'hypernoise_pl[compare]' has it")
    shard, shards = shard_of(run.options.shard)
    if shards > 1 and not run.folder.named:
        raise ConfigError("compare: several processes need a common folder; give --output DIR")
    check_trainer(run.trainer)
    model.to(process_device(run.trainer))
    results = Results(run.folder.path)
    runner = _runner(run, comparison, results)
    _begin(run, runner, results)
    entries = _entries(run, runner)
    texts = _texts(run, runner, entries)
    growing = Growing(results, texts.labels, runner.unit_count, comparison.base, texts.description, texts.credit)
    growing()
    if not runner.run(shard, shards, growing):
        say(f"shard {shard} of {shards} is done; the last one to finish writes the report in {results.folder}")
        return None
    return _report(comparison, results, texts, _features(comparison, model.device))


def _runner(run: RunContext, comparison: Comparison, results: Results) -> ComparisonRunner:
    judge = check_judge(run, "test")
    test_prompts = run.datamodule.prompts("test")
    check_prompts(test_prompts, f"test prompts of {type(run.datamodule).__name__}")
    prompts = stratified_subset(test_prompts, comparison.prompts)
    precision, forward_context = run.trainer.precision, run.trainer.precision_plugin.forward_context
    return ComparisonRunner(comparison, run.model, judge, prompts, run.adapter, results, precision, forward_context)


def _begin(run: RunContext, runner: ComparisonRunner, results: Results) -> None:
    """Begin the run folder, or continue an unfinished one of the same comparison."""
    with phase("compare: hashing the weights"):
        identity = runner.identity()
    if not run.folder.named:
        earlier = Results.unfinished(run.folder.path.parent, identity, first_difference)
        run.folder.switch_to(earlier or run.folder.path)
        results.folder = run.folder.path
    results.begin(identity, first_difference)


def _entries(run: RunContext, runner: ComparisonRunner) -> Sequence[Entry]:
    """The comparison's rows, once the speed of timed methods is measured; prints what is left out."""
    comparison, steps = runner.comparison, run.model.steps
    if steps != 1 and all(method.steps == 1 for method in comparison.methods):
        say(f"compare: the run is of {steps} steps, every method here of 1; compare.methods sets each one's steps")
    for name, missing in runner.skipped.items():
        say(f"compare: {name} is left out: {missing}")
    timed = comparison.budget_seconds is not None
    with phase("compare: measuring the speed of every method") if timed else contextlib.nullcontext():
        entries = runner.entries
    for name, why in runner.over_budget.items():
        say(f"compare: {name} {why}")
    return entries


def _texts(run: RunContext, runner: ComparisonRunner, entries: Sequence[Entry]) -> _Texts:
    """The report's texts; prints those of the start."""
    device = run.model.device
    size = f"{len(runner.prompts)} prompts x {runner.comparison.seeds} noises"
    say(f"compare: {run.description}\ncompare: {len(entries)} rows, {size}, on {device}")
    say(f"compare: run folder {run.folder.path}")
    credit = None if runner.judge is None else runner.judge.credit()
    parts = [run.description, f"{size}, on {device}", *(f"{name} {why}" for name, why in runner.over_budget.items())]
    return _Texts([entry.label for entry in entries], "; ".join(parts), credit)


def _report(comparison: Comparison, results: Results, texts: _Texts, features: Any) -> dict[str, Any]:
    """Write the report and print its table."""
    base, folder = comparison.base, results.folder
    with phase("compare: writing the report"):
        summary = write_report(results, texts.labels, base, texts.description, features, texts.credit)
    say(f"\n{many_methods(summary)}\n")
    say(f"report       {folder / 'report.html'}\nsummary      {folder / 'summary.json'}")
    say(f"images       {folder / 'results.parquet'} (a row an image), {folder / 'images'}")
    return summary


def _features(comparison: Comparison, device: torch.device) -> Callable[[Tensor], Tensor] | None:
    """Features of images for the report's diversity; None if the comparison has no such model."""
    if comparison.features is None:
        return None
    model = comparison.features.to(device)

    @torch.no_grad()
    def features(images: Tensor) -> Tensor:
        return model(images.to(device)).cpu()  # type: ignore[no-any-return]

    return features
