"""Runs one fit of a sweep in a process of its own: ``python -m hypernoise_pl.sweep.trial TRIAL.json``."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypernoise_pl.cli.parser import parse
from hypernoise_pl.cli.run import run
from hypernoise_pl.sweep.definition import Definition
from hypernoise_pl.sweep.validations import Pruned, ReportTrial, mean_figure, read_validations
from hypernoise_pl.sweep.versions import versions
from hypernoise_pl.system.files import write_text
from hypernoise_pl.system.signals import Stopped, allow_closed_output, stoppable

PRUNED = 3  # exit status of a pruned fit
RESULT = "result.json"


@dataclass(frozen=True)
class Job:
    """The input of a fit's process, which a worker writes.

    Args:
        flags: flags of ``fit``.
        folder: run folder.
        definition: definition of the sweep.
        sweep: folder of the sweep, which holds its journal.
        trial: Optuna's id of the trial.
        parent: process id of the worker; the fit ends if this process ends.
        before: figures of this point's fits with earlier seeds, at their last validations.
        steps: optimiser steps of a fit; None if epochs limit it.
    """

    flags: list[str]
    folder: str
    definition: dict[str, Any]
    sweep: str
    trial: int
    parent: int
    before: list[dict[str, float]]
    steps: int | None


def main(file: Path) -> int:
    """Run the fit.

    Returns:
        Exit status of ``fit``, or ``PRUNED``.
    """
    job = Job(**json.loads(file.read_text()))
    folder, definition = Path(job.folder), Definition(**job.definition)
    threading.Thread(target=_end_with_parent, args=(job.parent,), daemon=True).start()
    options, flags = parse("fit", job.flags)
    prune = None if definition.pruner_choice.name == "none" else _pruning_function(job, definition)
    callbacks = [ReportTrial(folder, definition.figures, prune)]
    folder.mkdir(parents=True, exist_ok=True)
    if int(os.environ.get("LOCAL_RANK", 0)) == 0:
        write_text(folder / "versions.json", json.dumps(versions(), indent=1) + "\n")
    try:
        with stoppable(), allow_closed_output():
            status = run("fit", job.flags, options, flags, callbacks).status
    except Pruned:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # a pruned fit never continues
        return PRUNED
    except Stopped as stopped:
        return stopped.code
    if status == 0 and int(os.environ.get("LOCAL_RANK", 0)) == 0:
        step, figures = max(read_validations(folder).items())
        write_text(folder / RESULT, json.dumps({"step": step, "figures": figures}, indent=1) + "\n")
    return status


def _pruning_function(job: Job, definition: Definition) -> Any:
    """A function that reports a figure to Optuna and decides whether to prune; it counts the steps of all seeds."""
    from optuna.trial import Trial

    from hypernoise_pl.sweep.study import open_storage, open_study, pruner_of, storage_url

    study = open_study(definition, open_storage(Path(job.sweep), storage_url(None)))
    study.pruner = pruner_of(definition, job.steps)
    trial, (name, sign) = Trial(study, job.trial), definition.pruning
    offset = len(job.before) * (job.steps or 0)

    def prune(step: int, figures: Mapping[str, float]) -> bool:
        trial.report(sign * mean_figure([*job.before, figures], name), offset + step)
        return trial.should_prune()

    return prune


def _end_with_parent(parent: int) -> None:
    """Stop this fit, with a checkpoint, when the worker that started it has ended."""
    while os.getppid() == parent or "LOCAL_RANK" in os.environ:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
