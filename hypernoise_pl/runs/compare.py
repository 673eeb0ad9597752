"""``compare``: search methods and adapters on the same prompts and noises, in one table and one report."""

from __future__ import annotations

import contextlib
import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hypernoise_pl.compare.config import Cell, Comparison, shard_of
from hypernoise_pl.compare.runner import Comparing
from hypernoise_pl.config.identity import difference
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.data.base import check_prompts
from hypernoise_pl.data.subset import some
from hypernoise_pl.progress import phase, say
from hypernoise_pl.report.aligned import aligned
from hypernoise_pl.report.growing import Growing
from hypernoise_pl.report.page import verdict, write_report
from hypernoise_pl.report.results import Results
from hypernoise_pl.report.sections import lines
from hypernoise_pl.runs.context import RunContext, process_device
from hypernoise_pl.runs.judging import check_judge
from hypernoise_pl.training.precision import check_trainer


@dataclass(frozen=True)
class _Texts:
    """Texts of one comparison's report.

    Args:
        labels: label of each row.
        description: purpose, size and device of the comparison.
        credit: source of the judge; empty without one.
    """

    labels: list[str]
    description: str
    credit: str


def compare(run: RunContext) -> dict[str, Any] | None:
    """Run the methods side by side; the process that finishes the last unit writes the report.

    Returns:
        The contents of ``summary.json``; None where other processes have units left.
    """
    comparison, model = run.comparison, run.model
    assert comparison is not None
    if importlib.util.find_spec("pyarrow") is None:
        raise ConfigError("compare needs the package pyarrow; pip install 'hypernoise_pl[search]' has it")
    shard, shards = shard_of(run.options.shard)
    if shards > 1 and not run.folder.named:
        raise ConfigError("compare: several processes need one --output folder to meet in")
    check_trainer(run.trainer)
    model.to(process_device(run.trainer))
    results = Results(run.folder.path)
    comparing = _comparing(run, comparison, results)
    _begin(run, comparing, results)
    cells = _cells(run, comparing)
    texts = _texts(run, comparing, cells)
    growing = Growing(results, texts.labels, comparing.units, comparison.base, texts.description)
    growing()
    if not comparing.run(shard, shards, growing):
        say(f"shard {shard} of {shards} is done; the last one to finish writes the report in {results.folder}")
        return None
    return _report(comparison, results, texts, _features(comparison, model.device))


def _comparing(run: RunContext, comparison: Comparison, results: Results) -> Comparing:
    judge = check_judge(run, "test")
    test_prompts = run.datamodule.prompts("test")
    check_prompts(test_prompts, f"test prompts of {type(run.datamodule).__name__}")
    prompts = some(test_prompts, comparison.prompts)
    precision, forward_context = run.trainer.precision, run.trainer.precision_plugin.forward_context
    return Comparing(comparison, run.model, judge, prompts, run.adapter, results, precision, forward_context)


def _begin(run: RunContext, comparing: Comparing, results: Results) -> None:
    """Begin the run folder, or continue an unfinished one of the same comparison."""
    with phase("compare: hashing the weights"):
        identity = comparing.identity()
    if not run.folder.named:
        earlier = Results.unfinished(run.folder.path.parent, identity, difference)
        run.folder.switch_to(earlier or run.folder.path)
        results.folder = run.folder.path
    results.begin(identity, difference)


def _cells(run: RunContext, comparing: Comparing) -> Sequence[Cell]:
    """The comparison's rows, once the speed of timed methods is measured; prints what is left out."""
    comparison, steps = comparing.comparison, run.model.steps
    if steps != 1 and all(method.steps == 1 for method in comparison.methods):
        say(f"compare: the run is of {steps} steps, every method here of 1; compare.methods sets each one's steps")
    for name, missing in comparing.skipped.items():
        say(f"compare: {name} is left out: {missing}")
    timed = comparison.budget_seconds is not None
    with phase("compare: measuring the speed of every method") if timed else contextlib.nullcontext():
        cells = comparing.cells
    for name, why in comparing.over.items():
        say(f"compare: {name} {why}")
    return cells


def _texts(run: RunContext, comparing: Comparing, cells: Sequence[Cell]) -> _Texts:
    """The report's texts; prints those of the start."""
    device = run.model.device
    size = f"{len(comparing.prompts)} prompts x {comparing.comparison.seeds} noises"
    say(f"compare: {run.description}\ncompare: {len(cells)} rows, {size}, on {device}")
    say(f"compare: run folder {run.folder.path}")
    credit = "" if comparing.judge is None else comparing.judge.credit()
    parts = [run.description, f"{size}, on {device}", *(f"{name} {why}" for name, why in comparing.over.items())]
    parts += [credit.rstrip(".")] if credit else []
    return _Texts([cell.label for cell in cells], "; ".join(parts), credit)


def _report(comparison: Comparison, results: Results, texts: _Texts, features: Any) -> dict[str, Any]:
    """Write the report and print its table."""
    base, folder = comparison.base, results.folder
    with phase("compare: writing the report"):
        figures = write_report(results, texts.labels, base, texts.description, features)
    columns = 8 if figures[base]["judge"] else 7
    say(f"\n{aligned(lines(figures, base), columns)}\n\n{verdict(figures, base)}\n{texts.credit}\n")
    say(f"report       {folder / 'report.html'}\nsummary      {folder / 'summary.json'}")
    say(f"images       {folder / 'results.parquet'} (a row an image), {folder / 'images'}")
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
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
