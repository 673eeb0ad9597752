"""The figures of a fit at each validation, and the callback that writes them and prunes the fit."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import lightning as L

from hypernoise_pl.types import did_you_mean

VALIDATIONS = "validations.jsonl"


class Pruned(BaseException):
    """The pruner ends a fit; not an ``Exception``, because ``fit`` handles those as errors."""


class ReportTrial(L.Callback):
    """Writes the figures of every validation into the run folder, and ends a pruned fit.

    Args:
        folder: run folder.
        figures: names of figures that every validation must log.
        prune: function of step and figures that decides whether the fit ends; called in the first process only.
    """

    def __init__(
        self, folder: Path, figures: Sequence[str], prune: Callable[[int, Mapping[str, float]], bool] | None = None
    ) -> None:
        self.folder, self.figures, self.prune = folder, figures, prune

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the figures of a validation, and end the fit if the pruner decides so.

        Raises:
            ValueError: if a figure is missing.
            Pruned: in every process, if the pruner ends the fit.
        """
        if trainer.sanity_checking:
            return
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        for name in self.figures:
            if name not in figures:
                raise ValueError(f"objectives: this validation did not log {name!r}{did_you_mean(name, figures)}")
        pruned = False
        if trainer.is_global_zero:
            with (self.folder / VALIDATIONS).open("a") as opened:
                opened.write(json.dumps({"step": trainer.global_step, "figures": figures}) + "\n")
            pruned = self.prune is not None and self.prune(trainer.global_step, figures)
        if trainer.strategy.broadcast(pruned):
            raise Pruned


def read_validations(folder: Path) -> dict[int, dict[str, float]]:
    """Step -> figures of a run's validations; a killed and continued run repeats steps, and the last figures count."""
    file = folder / VALIDATIONS
    if not file.is_file():
        return {}
    validations: dict[int, dict[str, float]] = {}
    for line in file.read_text().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # an incomplete line of a killed process
        earlier = {step: figures for step, figures in validations.items() if step < row["step"]}
        validations = earlier | {row["step"]: row["figures"]}
    return validations


def mean_figure(figures: Sequence[Mapping[str, float]], name: str) -> float:
    """The mean of a figure over fits; NaN if one fit has NaN."""
    return math.fsum(fit[name] for fit in figures) / len(figures)
