"""``validate`` and ``test``: measure an adapter, and print and save the result."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hypernoise_pl.adapters.files import load_weights
from hypernoise_pl.callbacks.image_grid import ImageGrid
from hypernoise_pl.callbacks.progress import Progress
from hypernoise_pl.callbacks.run_benchmark import RunBenchmark
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.data.base import Split
from hypernoise_pl.progress import say
from hypernoise_pl.report.live import PAGE
from hypernoise_pl.report.tables import few_methods
from hypernoise_pl.runs.context import RunContext
from hypernoise_pl.runs.judging import check_judge, evaluate_callback
from hypernoise_pl.runs.step_time import DEVICE, SECONDS, device_name
from hypernoise_pl.system.files import write_text
from hypernoise_pl.training.loggers import log_location
from hypernoise_pl.training.profiling import profile_folders


def validate(run: RunContext) -> dict[str, Any] | None:
    """Measure an adapter on the validation prompts; returns what ``measure`` does."""
    return _restore_and_measure(run, "validation", "limit_val_batches")


def test(run: RunContext) -> dict[str, Any] | None:
    """Measure an adapter on the test prompts; returns what ``measure`` does."""
    return _restore_and_measure(run, "test", "limit_test_batches")


def measure(
    run: RunContext, split: Split, adapter: Path, fit_seconds: float = 0.0, notes: Sequence[str] = ()
) -> dict[str, Any] | None:
    """Measure the model on a split, print the tables and write ``summary.json``.

    Args:
        run: command's record.
        split: ``validation`` or ``test``.
        adapter: folder of the adapter that is measured.
        fit_seconds: training time in seconds; 0 without a training.
        notes: lines that stand below the tables.

    Returns:
        The contents of ``summary.json``; None where nothing was measured, and on other processes than the first.
    """
    trainer, evaluate = run.trainer, evaluate_callback(run)
    evaluate.clear()  # of the last validation
    loop = trainer.validate if split == "validation" else trainer.test
    loop(run.model, datamodule=run.datamodule, verbose=False)
    if not trainer.is_global_zero:
        return None
    lines, summary = [""], None
    if evaluate.rows:  # none if limit_test_batches is 0
        fitted = {"seconds": fit_seconds, **_speed(run)} if fit_seconds else None
        summary = evaluate.summary(fitted, run.description or type(run.model).__name__)
        lines += [few_methods(summary), ""]
        for benchmark in (callback for callback in trainer.callbacks if isinstance(callback, RunBenchmark)):
            if benchmark.figures:
                summary["benchmarks"][benchmark.name] = benchmark.figures
                lines += [benchmark.table(), ""]
    lines += [*notes, ""] if notes else []
    if run.folder.trial:
        say("\n".join([*lines, "fast_dev_run: every part has run once; nothing is kept"]))
        return summary
    if summary is not None:
        run.folder.path.mkdir(parents=True, exist_ok=True)
        write_text(run.folder.path / "summary.json", json.dumps(summary, indent=1) + "\n")
    say("\n".join([*lines, *_files(run, adapter, summary is not None, fit_seconds > 0)]))
    say(f"next         {_predict_command(adapter, run.datamodule.evaluated_prompts(split)[0].text)}")
    return summary


def _restore_and_measure(run: RunContext, split: Split, limit: str) -> dict[str, Any] | None:
    check_judge(run, split)
    if getattr(run.trainer, limit) == 0:  # as the adapter's run may have it
        raise ConfigError(f"trainer.{limit}: 0, and nothing would be measured; --trainer.{limit}=1.0 measures all")
    assert run.adapter is not None
    load_weights(run.model.adapter, run.adapter)
    return measure(run, split, run.adapter)


def _files(run: RunContext, adapter: Path, summary: bool, after_fit: bool) -> Iterator[str]:
    """A line for each file that the run leaves."""
    folder, trainer = run.folder.path, run.trainer
    yield f"adapter      {adapter}"
    if summary:
        yield f"summary      {folder / 'summary.json'}"
    if picture := next((callback.last for callback in trainer.callbacks if isinstance(callback, ImageGrid)), None):
        yield f"picture      {picture}"
    if after_fit and (folder / PAGE).exists():
        yield f"page         {folder / PAGE}"
    yield from (
        f"{name:<12} {file}" for name, file in [*map(log_location, trainer.loggers), *profile_folders(trainer.profiler)]
    )


def _speed(run: RunContext) -> dict[str, Any]:
    """Seconds of a training step, and the device that they were measured on."""
    callbacks = run.trainer.callbacks
    seconds = next((callback.seconds_per_step for callback in callbacks if isinstance(callback, Progress)), None)
    return {SECONDS: seconds, DEVICE: device_name(run.trainer.strategy.root_device)}


def _predict_command(adapter: Path, prompt: str) -> str:
    """The command that shows an adapter's images, quoted for a shell."""
    return shlex.join(["python", "-m", "hypernoise_pl", "predict", "--adapter", str(adapter), "--prompt", prompt])
