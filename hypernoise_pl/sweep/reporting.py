"""What a fit of a sweep tells: its figures at each validation; and whether it is to be pruned."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import lightning as L

from hypernoise_pl.types import did_you_mean

VALIDATIONS = "validations.jsonl"


class Pruned(BaseException):
    """A fit is ended for what its figures are; no ``Exception``, so that nothing takes it for an error."""


class ReportTrial(L.Callback):
    """Writes the figures of every validation into the run folder, and asks whether to go on.

    Args:
        folder: of the run.
        figures: that have to be among them.
        prune: step and figures -> whether to end; of the first process alone.
    """

    def __init__(
        self, folder: Path, figures: Sequence[str], prune: Callable[[int, Mapping[str, float]], bool] | None = None
    ) -> None:
        self.folder, self.figures, self.prune = folder, figures, prune

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write, and ask.

        Raises:
            ValueError: if a figure was not logged.
            Pruned: in every process, if the fit is to end here.
        """
        if trainer.sanity_checking:
            return
        found = {name: float(value) for name, value in trainer.callback_metrics.items()}
        for name in self.figures:
            if name not in found:
                raise ValueError(f"objectives: this validation did not log {name!r}{did_you_mean(name, found)}")
        ends = False
        if trainer.is_global_zero:
            with (self.folder / VALIDATIONS).open("a") as opened:
                opened.write(json.dumps({"step": trainer.global_step, "figures": found}) + "\n")
            ends = self.prune is not None and self.prune(trainer.global_step, found)
        if trainer.strategy.broadcast(ends):
            raise Pruned


def validations(folder: Path) -> dict[int, dict[str, float]]:
    """Step -> figures of a run's validations; of a step that was taken twice, after a kill, those of the last time."""
    file = folder / VALIDATIONS
    if not file.is_file():
        return {}
    found: dict[int, dict[str, float]] = {}
    for line in file.read_text().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # half a line, of a process that was killed while it wrote
        found = {step: figures for step, figures in found.items() if step < row["step"]} | {row["step"]: row["figures"]}
    return found


def mean(figures: Sequence[Mapping[str, float]], name: str) -> float:
    """The mean of a figure over fits; NaN if one of them is."""
    return math.fsum(each[name] for each in figures) / len(figures)
