"""The plan of a sweep: the data that all workers of a process share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage
from optuna.study import Study

from hypernoise_pl.sweep.definition import Definition
from hypernoise_pl.sweep.study import open_study

TRIALS = "trials"


@dataclass(frozen=True)
class Plan:
    """The data that all workers of a process share.

    Args:
        definition: definition of the sweep.
        folder: folder of the sweep.
        url: URL of the storage; None for the journal.
        storage: opened storage; threads share it.
        base: file with the configuration that all trials share.
        seeds: settings of each seed's fit, seed 0 first.
        steps: optimiser steps of a fit; None if epochs limit it.
        devices: number of devices of a fit.
        deadline: value of ``time.monotonic`` after which no trial starts; None for no deadline.
    """

    definition: Definition
    folder: Path
    url: str | None
    storage: BaseStorage
    base: Path
    seeds: list[dict[str, Any]]
    steps: int | None
    devices: int = 1
    deadline: float | None = None

    def point_folder(self, number: int) -> Path:
        """The folder of a point's fits."""
        return self.folder / TRIALS / f"{number:04d}"

    def study(self) -> Study:
        """A new object of the sweep's study; Optuna's object caches per thread, so each caller takes its own."""
        return open_study(self.definition, self.storage)
