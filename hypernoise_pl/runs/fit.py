"""``fit``: train an adapter, save it and measure it."""

from __future__ import annotations

import time
from typing import Any

import torch

from hypernoise_pl.adapters.files import save_adapter
from hypernoise_pl.callbacks.early_stop import EarlyStop
from hypernoise_pl.callbacks.missed_validation import MakeUpValidation
from hypernoise_pl.callbacks.remember_logs import RememberLogs
from hypernoise_pl.callbacks.stop import SaveWhenAsked
from hypernoise_pl.config.loading import read_config
from hypernoise_pl.progress import say
from hypernoise_pl.runs.context import RunContext
from hypernoise_pl.runs.judging import check_judge, skip_unjudged_validation
from hypernoise_pl.runs.measure import measure
from hypernoise_pl.system.files import write_text
from hypernoise_pl.training.checkpoint_io import checkpoint_to_resume, read_checkpoint
from hypernoise_pl.training.loggers import close_loggers, log_config, log_summary, resume_logs


def fit(run: RunContext) -> dict[str, Any] | None:
    """Train, save the adapter, test it and print the result.

    Returns:
        The contents of ``summary.json``; None where nothing was measured, and on other processes than the first.
    """
    model, trainer, folder, first = run.model, run.trainer, run.folder.path, run.trainer.is_global_zero
    if trainer.overfit_batches:
        check_judge(run, "train")
    else:
        check_judge(run, "test")
        skip_unjudged_validation(run)
    if run.checkpoint is None and first:
        checkpoint_to_resume(None, folder)  # another process may have written there while this one was loading
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "config.yaml", run.config_yaml)
    if first:
        _print_start(run)
    fit_seconds = _train(run)
    adapter = folder / "adapter"
    save_adapter(model.adapter, adapter, model.objective.record(), first)
    notes = [model.skipped_steps(), _unfinished_steps(trainer)]
    summary = measure(run, "test", adapter, fit_seconds, [note for note in notes if note])
    if first:
        if summary is not None:
            log_summary(trainer.loggers, read_config(folder / "config.yaml"), summary, trainer.global_step)
        close_loggers(trainer.loggers)
    return summary


def _train(run: RunContext) -> float:
    """Train, and validate after the last step if Lightning skipped that validation.

    Returns:
        Seconds of the training.
    """
    trainer, checkpoint = run.trainer, run.checkpoint
    validation = MakeUpValidation()
    trainer.callbacks += [RememberLogs(), SaveWhenAsked(), *run.callbacks, validation]
    start = time.monotonic()
    if trainer.is_global_zero:
        if checkpoint is not None:
            resume_logs(trainer.loggers, read_checkpoint(checkpoint))
        log_config(trainer.loggers, read_config(run.folder.path / "config.yaml"))
    weights_only = True if checkpoint else None
    trainer.fit(run.model, datamodule=run.datamodule, ckpt_path=checkpoint, weights_only=weights_only)
    seconds = time.monotonic() - start
    if validation.missed(trainer):
        trainer.validate(run.model, datamodule=run.datamodule, verbose=False)
    return seconds


def _unfinished_steps(trainer: Any) -> str:
    """A line that says why a training did not end at ``trainer.max_steps``; empty if it did."""
    steps, wanted = trainer.global_step, trainer.max_steps
    if trainer.fast_dev_run or wanted < 0 or steps == wanted:
        return ""
    if steps > wanted:
        return f"nothing was trained: the checkpoint is of step {steps}, and trainer.max_steps is {wanted}"
    early = next(
        (callback.why for callback in trainer.callbacks if isinstance(callback, EarlyStop) and callback.why), ""
    )
    why = early or "trainer.max_epochs, max_time, limit_train_batches or a callback stopped it"
    return f"the training ended after step {steps} of {wanted}: {why}"


def _print_start(run: RunContext) -> None:
    trainer, model = run.trainer, run.model
    weights = sum(parameter.numel() for parameter in model.trainable().values())
    length = (
        f"{trainer.max_steps} steps" if trainer.max_steps and trainer.max_steps > 0 else f"{trainer.max_epochs} epochs"
    )
    device = str(trainer.strategy.root_device)
    count = torch.get_num_threads()
    threads = f" ({count} thread{'s' if count > 1 else ''})" if device == "cpu" else ""
    place = "fast_dev_run: nothing is kept" if run.folder.trial else f"run folder {run.folder.path}"
    say(
        f"fit: {run.description or type(model).__name__}\n"
        f"fit: {length} of {run.datamodule.batch_size} prompts, {weights:,} trainable weights, on {device}{threads}\n"
        f"fit: {place}"
    )
    if run.changes:
        say(f"fit: this run continues with changes: {run.changes}")
