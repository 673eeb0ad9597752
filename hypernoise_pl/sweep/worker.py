"""A worker: takes a point, runs its fits one after the other, tells Optuna what they found, takes the next."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import Trial, TrialState

from hypernoise_pl.progress import say
from hypernoise_pl.sweep.claims import BEAT, Claim, Watch, new_folder
from hypernoise_pl.sweep.definition import Definition
from hypernoise_pl.sweep.reporting import mean, validations
from hypernoise_pl.sweep.space import as_flags, flags_of, words
from hypernoise_pl.sweep.study import POINT, STORAGE_VARIABLE, open_study, trial_for, trial_of
from hypernoise_pl.sweep.trial import PRUNED, RESULT, Job
from hypernoise_pl.system.files import lock_folder, write_text
from hypernoise_pl.training.checkpoint_io import newest_checkpoint

TRIALS = "trials"
LOG = "log.txt"
WAIT = 2.0  # seconds between two looks at what others do
_OF_A_RUN = ("HYPERNOISE_OUTPUT", "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "SLURM_PROCID")


@dataclass(frozen=True)
class Plan:
    """What all workers of a process work on.

    Args:
        definition: of the sweep.
        folder: of the sweep.
        url: of its storage; None for the journal.
        storage: the same, open; threads share it.
        base: file with the configuration that every trial changes.
        seeds: seed -> what a fit of it sets.
        steps: optimiser steps of a fit; None where epochs decide.
        devices: of a fit.
        deadline: time, of ``time.monotonic``, after which no trial begins; None for none.
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

    @property
    def trials(self) -> Path:
        """The folder of the points' folders."""
        return self.folder / TRIALS

    def study(self) -> Study:
        """Its study; an object of its own for whoever asks, for it keeps what a thread has seen."""
        return open_study(self.definition, self.storage)


class Interrupted(Exception):
    """A worker was asked to stop in the middle of a point."""


class Refused(ValueError):
    """``fit`` cannot do what the sweep asks of it, whatever the point."""


@dataclass
class Worker:
    """Works until nothing is left to do, in a thread of its own.

    Args:
        plan: what is worked on.
        stop: whether to end; the fit that runs saves a checkpoint first.
        environment: variables for the fits, such as the device.
        error: what went wrong.
        watch: what it has seen of other workers.
    """

    plan: Plan
    stop: threading.Event
    environment: dict[str, str] = field(default_factory=dict)
    error: BaseException | None = None
    watch: Watch = field(default_factory=Watch)

    def run(self) -> None:
        """Work; what goes wrong is kept in ``error``, and stops all workers."""
        try:
            while not self.stop.is_set():
                found = self._next()
                if found is not None:
                    self._work(*found)
                elif self._all_done():
                    return
                else:
                    self.stop.wait(WAIT)  # others are at work, and one of them may die
        except Interrupted:
            return
        except BaseException as error:
            self.error = error
            self.stop.set()

    def _next(self) -> tuple[int, Claim] | None:
        """A point that nobody works on: one that was left, or a new one."""
        ended, points = self._ended(), self.plan.definition.points
        for number in range(points):
            folder = self._folder(number)
            if number in ended or not folder.is_dir():
                continue
            claim = self.watch.take(folder)
            if claim is not None:
                return number, claim
        if self._late():
            return None
        for number in range(points):
            claim = new_folder(self.plan.trials, number)
            if claim is not None:
                return number, claim
        return None

    def _all_done(self) -> bool:
        """Whether every point that was begun has ended, and none may begin."""
        begun = {number for number in range(self.plan.definition.points) if self._folder(number).is_dir()}
        return begun <= self._ended() and (self._late() or len(begun) == self.plan.definition.points)

    def _ended(self) -> set[int]:
        """The points whose trials have ended."""
        trials = self.plan.study().get_trials(deepcopy=False)
        return {each.user_attrs[POINT] for each in trials if POINT in each.user_attrs and each.state.is_finished()}

    def _late(self) -> bool:
        return self.plan.deadline is not None and time.monotonic() > self.plan.deadline

    def _folder(self, number: int) -> Path:
        return self.plan.trials / f"{number:04d}"

    def _work(self, number: int, claim: Claim) -> None:
        study = self.plan.study()
        there = trial_of(study, number)
        if there is not None and there.state.is_finished():
            return
        trial = trial_for(study, self.plan.definition, number)
        try:
            self._point(study, trial, number, claim)
        finally:
            claim.release()

    def _point(self, study: Study, trial: Trial, number: int, claim: Claim) -> None:
        definition, dimensions = self.plan.definition, self.plan.definition.dimensions
        values = {each.name: each.suggest(trial) for each in dimensions}
        flags = flags_of(dimensions, values)
        found: list[dict[str, float]] = []
        for seed, settings in enumerate(self.plan.seeds):
            folder = self._folder(number) / f"seed-{seed}"
            if not (folder / RESULT).is_file():
                job = Job(
                    [f"--config={self.plan.base}", *as_flags({**flags, **settings}), f"--output={folder}"],
                    str(folder),
                    asdict(definition),
                    str(self.plan.folder),
                    trial._trial_id,
                    os.getpid(),
                    found,
                    self.plan.steps,
                )
                status = self._fit(study, trial, folder, job, claim)
                if status != 0:
                    self._ended_early(study, trial, number, folder, status, values)
                    return
            found.append(json.loads((folder / RESULT).read_text())["figures"])
        means = [mean(found, name) for name in definition.objectives]
        if not all(map(math.isfinite, means)):
            trial.set_user_attr("error", f"{next(iter(definition.objectives))} is {means[0]}")
            study.tell(trial, state=TrialState.FAIL)
            return
        trial.set_user_attr("figures", {name: mean(found, name) for name in found[0]})
        study.tell(trial, means)
        shown = words(dict(zip(definition.objectives, means, strict=True)))
        say(f"trial {number}: {shown} ({words(values)})")

    def _ended_early(
        self, study: Study, trial: Trial, number: int, folder: Path, status: int, values: dict[str, Any]
    ) -> None:
        if status == PRUNED:
            study.tell(trial, state=TrialState.PRUNED)
            step = max(validations(folder), default=0)
            say(f"trial {number}: pruned at step {step:,} of {folder.name} ({words(values)})")
            return
        line = _last_line(folder.with_name(LOG))
        trial.set_user_attr("error", line)
        study.tell(trial, state=TrialState.FAIL)
        if status == 2 and not any(each.state == TrialState.COMPLETE for each in study.get_trials(deepcopy=False)):
            raise Refused(f"trial {number}: {line}")
        say(f"trial {number}: failed: {line} ({words(values)}); {folder.with_name(LOG)}")

    def _fit(self, study: Study, trial: Trial, folder: Path, job: Job, claim: Claim) -> int:
        """Run a fit; one that goes wrong is started again from its checkpoint, ``retries`` times."""
        for attempt in range(self.plan.definition.retries + 1):
            began = time.monotonic()
            status = self._process(folder, job, claim)
            spent = float(trial.user_attrs.get("seconds", 0.0)) + time.monotonic() - began
            trial.set_user_attr("seconds", round(spent, 1))
            if self.stop.is_set() and status not in (0, PRUNED):
                raise Interrupted
            if status in (0, 2, PRUNED):
                return status
            if attempt < self.plan.definition.retries:
                say(f"trial {folder.parent.name}: ended with status {status}; it goes on from its checkpoint")
        return status

    def _process(self, folder: Path, job: Job, claim: Claim) -> int:
        """One process of a fit, from its newest checkpoint if it has one.

        Returns:
            Its exit status; of a process that a signal ended 128 and the signal.
        """
        _wait_for(folder, self.stop)
        flags = job.flags
        if folder.is_dir():
            if newest_checkpoint(folder) is None:
                shutil.rmtree(folder)  # nothing to go on from
            else:
                flags = [*flags, "--ckpt_path=last"]
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "trial.json"
        write_text(file, json.dumps(asdict(job) | {"flags": flags}, indent=1) + "\n")
        environment = {key: value for key, value in os.environ.items() if key not in _OF_A_RUN} | self.environment
        if self.plan.url is not None:
            environment[STORAGE_VARIABLE] = self.plan.url
        with folder.with_name(LOG).open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "hypernoise_pl.sweep.trial", str(file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl+C is for the sweep, which stops its fits one by one
            )
            try:
                return self._watched(process, claim)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()

    def _watched(self, process: subprocess.Popen[bytes], claim: Claim) -> int:
        beaten, asked = time.monotonic(), False
        while True:
            try:
                status = process.wait(0.2)
                return 128 - status if status < 0 else status
            except subprocess.TimeoutExpired:
                pass
            if self.stop.is_set() and not asked:
                process.terminate()
                asked = True
            if time.monotonic() - beaten > BEAT:
                claim.beat()
                beaten = time.monotonic()


def _wait_for(folder: Path, stop: threading.Event) -> None:
    """Wait until the fit of a worker that has died, which ends by itself with a checkpoint, has left the folder."""
    while folder.is_dir() and not stop.is_set():
        try:
            with lock_folder(folder):
                return
        except ValueError:
            stop.wait(0.5)


def _last_line(log: Path) -> str:
    """The last error that a fit printed, without the command's name; its last line if it printed none."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "error: " in line]
    return (errors or lines or ["it said nothing"])[-1].partition("error: ")[2] or (lines or [""])[-1]
