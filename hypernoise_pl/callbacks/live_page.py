"""Writes ``live.html`` and ``history.jsonl`` into the run folder of a fit."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning as L
import yaml
from lightning.pytorch.utilities import rank_zero_warn

from hypernoise_pl.callbacks.evaluate import Evaluate
from hypernoise_pl.callbacks.hacking_alarm import HackingAlarm
from hypernoise_pl.callbacks.image_grid import ImageGrid
from hypernoise_pl.callbacks.run_benchmark import resting
from hypernoise_pl.config.loading import read_config
from hypernoise_pl.report.history import TEST, TRAIN, VALIDATION, History
from hypernoise_pl.report.live import PAGE, RunInfo, live_page
from hypernoise_pl.report.signs import Limits, signs, validated
from hypernoise_pl.report.tables import few_methods
from hypernoise_pl.system.files import write_text

OF_TRAINING = ("train/", "noise/train/", "speed/", "memory/")  # prefixes of log keys
OF_VALIDATION = ("validation/", "noise/validation/", "noise/kl/", "noise/lipschitz", "noise/correlation/", "alarm/")


class LivePage(L.Callback):
    """Writes ``live.html`` during a fit: at each validation, at the end, and every ``every`` seconds between.

    The page shows the logged figures, which ``history.jsonl`` keeps, and the pictures of ``ImageGrid``. The first
    process writes it; with fast_dev_run, or without a fit, nothing is written.

    Args:
        every: seconds between two pages, outside validations; 0 for one at each log entry.
    """

    def __init__(self, every: float = 30.0) -> None:
        if not every >= 0:
            raise ValueError(f"LivePage: every must be at least 0 seconds, got {every}")
        self.every = every
        self._history: History | None = None  # of a fit under way
        self._step = 0  # of the newest training row
        self._written = 0.0
        self._config = self._about = ""
        self._opened = False  # whether the record begins at the step of the run

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Begin the record of a fit; the record of a continued run is read once its step is known."""
        if stage == "fit" and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._history, self._step, self._opened = History(Path(trainer.default_root_dir)), 0, False
            file = self._history.folder / "config.yaml"
            config = read_config(file) if file.is_file() else {}
            self._config = yaml.safe_dump(config, sort_keys=False, width=120) if config else ""
            self._about = config.get("description") or type(pl_module).__name__

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Continue the record at the step of the run, and write the page."""
        if self._history is None or not trainer.is_global_zero:
            return
        self._step = trainer.global_step
        self._open(trainer)
        self._write(trainer, pl_module, self._running(trainer))

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Add the figures of a step."""
        every, step = trainer.log_every_n_steps, trainer.global_step  # type: ignore[attr-defined]
        if self._history is None or not every or step % every or step == self._step:
            return
        self._step = step
        figures = _figures(trainer, OF_TRAINING)  # by all processes: a figure may be reduced over them
        if not trainer.is_global_zero:
            return
        self._history.add(TRAIN, step, figures)
        if time.monotonic() - self._written >= self.every:
            self._write(trainer, pl_module, self._running(trainer))

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Add the figures of a validation, and write the page."""
        if self._history is None or trainer.sanity_checking or trainer.state.fn != "fit":
            return
        logged, evaluate = _figures(trainer, OF_VALIDATION), _evaluate(trainer)
        figures = {name: value for name, value in logged.items() if not resting(trainer, name)}
        if trainer.is_global_zero and evaluate is not None:
            weights, metrics = pl_module.ensemble.weights, trainer.callback_metrics
            row = {"step": trainer.global_step} | validated(evaluate.rows, evaluate.diversity(), weights, metrics)
            before = [earlier for earlier in self._history.of(VALIDATION) if earlier["step"] < row["step"]]
            row["signs"] = {sign.name: sign.text for sign in signs([*before, row], self._limits(trainer))}
            row["picture"] = self._picture(trainer, "validation")
            self._history.add(VALIDATION, figures=figures, **row)
            self._write(trainer, pl_module, self._running(trainer))

    def on_test_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Add the figures of the test of a fit."""
        evaluate = _evaluate(trainer)
        if self._history is not None and trainer.is_global_zero and evaluate is not None:
            more = {"table": few_methods(evaluate.summary()), "picture": self._picture(trainer, "test")}
            self._history.add(TEST, trainer.global_step, _figures(trainer, ("test/",)), **more)

    def teardown(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Write the page: after the fit, and after the test that follows it."""
        if self._history is None:
            return
        if trainer.is_global_zero:
            self._open(trainer)  # where nothing was left to train
            ended = stage == "test"
            self._write(trainer, pl_module, f"Ended, {_step(trainer)}" if ended else "Trained; the test follows", ended)
        if stage == "test":
            self._history = None

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Write the page with the reason of the stop."""
        if self._history is None or not self._opened or not trainer.is_global_zero:
            return
        why = str(exception) or type(exception).__name__
        why = why if why.startswith("stopped by") else f"stopped by an error: {why.splitlines()[0]}"
        try:
            self._write(trainer, pl_module, f"{why[0].upper()}{why[1:]}, {_step(trainer)}", ended=True)
        except OSError as error:  # a full disk may have stopped the run
            rank_zero_warn(f"LivePage: {PAGE} does not say that the run has stopped: {error}")
        self._history = None

    def _open(self, trainer: L.Trainer) -> None:
        assert self._history is not None
        if not self._opened:
            self._history.begin(trainer.global_step)
            self._opened = True

    def _running(self, trainer: L.Trainer) -> str:
        assert self._history is not None
        speed = self._history.curve(TRAIN, "speed/images_per_second")
        return f"Running, {_step(trainer)}" + (f", {speed[-1][1]:.3g} images/s" if speed else "")

    def _write(self, trainer: L.Trainer, pl_module: Any, state: str, ended: bool = False) -> None:
        assert self._history is not None
        total = trainer.max_steps if trainer.max_steps and trainer.max_steps > 0 else None
        written = time.strftime("%Y-%m-%d %H:%M:%S")
        info = RunInfo(self._about, pl_module.adapter.label, state, not ended, total, self._config, written)
        write_text(self._history.folder / PAGE, live_page(self._history, info))
        self._written = time.monotonic()

    def _limits(self, trainer: L.Trainer) -> Limits:
        """The limits of HackingAlarm; the defaults without one."""
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        return next((callback.limits for callback in callbacks if isinstance(callback, HackingAlarm)), Limits())

    def _picture(self, trainer: L.Trainer, split: str) -> str | None:
        """Path of the newest picture from the page; None where ImageGrid has drawn none of this split."""
        assert self._history is not None
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        last = next((callback.last for callback in callbacks if isinstance(callback, ImageGrid)), None)
        if last is None or not last.name.startswith(split) or not last.is_relative_to(self._history.folder):
            return None
        return last.relative_to(self._history.folder).as_posix()


def _figures(trainer: L.Trainer, prefixes: tuple[str, ...]) -> dict[str, float]:
    return {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(prefixes)}


def _evaluate(trainer: L.Trainer) -> Evaluate | None:
    """The callback that has measured; None where nothing is measured."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return next((callback for callback in callbacks if isinstance(callback, Evaluate) and callback.rows), None)


def _step(trainer: L.Trainer) -> str:
    steps = trainer.max_steps
    return f"step {trainer.global_step:,}" + (f" of {steps:,}" if steps and steps > 0 else "")
