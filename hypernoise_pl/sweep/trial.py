"""One fit of a sweep, in a process of its own: ``python -m hypernoise_pl.sweep.trial TRIAL.json``."""

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
from hypernoise_pl.sweep.reporting import Pruned, ReportTrial, mean, validations
from hypernoise_pl.sweep.versions import versions
from hypernoise_pl.system.files import write_text
from hypernoise_pl.system.signals import Stopped, allow_closed_output, stoppable

PRUNED = 3  # exit status
RESULT = "result.json"


@dataclass(frozen=True)
class Job:
    """What a worker gives to the process of a fit.

    Args:
        flags: of ``fit``.
        folder: of the run.
        definition: of the sweep.
        sweep: folder of the sweep, for its journal.
        trial: Optuna's id of the trial.
        parent: process id of the worker; without it the fit ends.
        before: figures of this point's fits with the seeds before this one, at their last validations.
        steps: optimiser steps of a fit; None where epochs decide.
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
    threading.Thread(target=_end_without, args=(job.parent,), daemon=True).start()
    options, flags = parse("fit", job.flags)
    prune = None if definition.pruner_name == "none" else _pruning(job, definition)
    callbacks = [ReportTrial(folder, definition.figures, prune)]
    folder.mkdir(parents=True, exist_ok=True)
    if int(os.environ.get("LOCAL_RANK", 0)) == 0:
        write_text(folder / "versions.json", json.dumps(versions(), indent=1) + "\n")
    try:
        with stoppable(), allow_closed_output():
            status = run("fit", job.flags, options, flags, callbacks).status
    except Pruned:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # nobody goes on from them
        return PRUNED
    except Stopped as stopped:
        return stopped.code
    if status == 0 and int(os.environ.get("LOCAL_RANK", 0)) == 0:
        step, figures = max(validations(folder).items())
        write_text(folder / RESULT, json.dumps({"step": step, "figures": figures}, indent=1) + "\n")
    return status


def _pruning(job: Job, definition: Definition) -> Any:
    """Reports a figure to Optuna and asks whether to go on; steps are of all seeds together."""
    from optuna.trial import Trial

    from hypernoise_pl.sweep.study import open_storage, open_study, pruner_of, storage_url

    study = open_study(definition, open_storage(Path(job.sweep), storage_url(None)))
    study.pruner = pruner_of(definition, job.steps)
    trial, (name, sign) = Trial(study, job.trial), definition.pruning
    offset = len(job.before) * (job.steps or 0)

    def prune(step: int, figures: Mapping[str, float]) -> bool:
        trial.report(sign * mean([*job.before, figures], name), offset + step)
        return trial.should_prune()

    return prune


def _end_without(parent: int) -> None:
    """Stop, with a checkpoint, once the worker that began this fit is gone."""
    while os.getppid() == parent or "LOCAL_RANK" in os.environ:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
