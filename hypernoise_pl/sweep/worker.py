"""A worker of a sweep: claims a point, runs its fits one after the other, and reports their figures to Optuna."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import Trial, TrialState

from hypernoise_pl.progress import say
from hypernoise_pl.sweep.claims import Claim, ClaimWatcher, claim_new_folder
from hypernoise_pl.sweep.fit_process import last_error, log_file, run_fit
from hypernoise_pl.sweep.plan import Plan
from hypernoise_pl.sweep.space import point_settings
from hypernoise_pl.sweep.study import POINT, find_trial, start_trial
from hypernoise_pl.sweep.trial import PRUNED, RESULT, Job
from hypernoise_pl.sweep.validations import mean_figure, read_validations
from hypernoise_pl.sweep.values import as_flags, describe

POLL_SECONDS = 2.0  # between two looks for a free point


class Interrupted(Exception):
    """A worker stops before the fits of its point have ended."""


class Refused(ValueError):
    """``fit`` refuses the configuration of the sweep, whatever the point."""


@dataclass
class Worker:
    """Runs the fits of points until every point has ended, in a thread of its own.

    Args:
        plan: plan of the sweep.
        stop: event that ends the worker; the running fit saves a checkpoint first.
        environment: environment variables of the fits, such as their GPUs.
        error: error that ended the worker; None without one.
        watcher: watcher of other workers' claims.
    """

    plan: Plan
    stop: threading.Event
    environment: dict[str, str] = field(default_factory=dict)
    error: BaseException | None = None
    watcher: ClaimWatcher = field(default_factory=ClaimWatcher)

    def run(self) -> None:
        """Run until every point has ended; an error is stored in ``error`` and stops all workers."""
        try:
            while not self.stop.is_set():
                claimed = self._claim_point()
                if claimed is not None:
                    self._run_claimed(*claimed)
                elif self._all_ended():
                    return
                else:
                    self.stop.wait(POLL_SECONDS)  # another worker may die and leave its point
        except Interrupted:
            return
        except BaseException as error:
            self.error = error
            self.stop.set()

    def _claim_point(self) -> tuple[int, Claim] | None:
        """Claim a point that its worker has left, or a new one; None if there is no free point."""
        ended, points = self._ended_points(), self.plan.definition.points
        for number in range(points):
            folder = self.plan.point_folder(number)
            if number in ended or not folder.is_dir():
                continue
            claim = self.watcher.claim_free_folder(folder)
            if claim is not None:
                return number, claim
        if self._deadline_over():
            return None
        for number in range(points):
            claim = claim_new_folder(self.plan.point_folder(number))
            if claim is not None:
                return number, claim
        return None

    def _all_ended(self) -> bool:
        """Whether every started point has ended, and no other point may start."""
        points = self.plan.definition.points
        started = {number for number in range(points) if self.plan.point_folder(number).is_dir()}
        return started <= self._ended_points() and (self._deadline_over() or len(started) == points)

    def _ended_points(self) -> set[int]:
        """The numbers of the points whose trials have ended."""
        trials = self.plan.study().get_trials(deepcopy=False)
        return {trial.user_attrs[POINT] for trial in trials if POINT in trial.user_attrs and trial.state.is_finished()}

    def _deadline_over(self) -> bool:
        return self.plan.deadline is not None and time.monotonic() > self.plan.deadline

    def _run_claimed(self, number: int, claim: Claim) -> None:
        study = self.plan.study()
        existing = find_trial(study, number)
        if existing is not None and existing.state.is_finished():
            return
        trial = start_trial(study, self.plan.definition, number)
        try:
            self._run_point(study, trial, number, claim)
        finally:
            claim.release()

    def _run_point(self, study: Study, trial: Trial, number: int, claim: Claim) -> None:
        """Run the fits of all seeds, and report the means of their figures to Optuna."""
        definition, dimensions = self.plan.definition, self.plan.definition.dimensions
        values = {dimension.name: dimension.suggest(trial) for dimension in dimensions}
        settings = point_settings(dimensions, values)
        figures: list[dict[str, float]] = []
        for seed, seed_settings in enumerate(self.plan.seeds):
            folder = self.plan.point_folder(number) / f"seed-{seed}"
            if not (folder / RESULT).is_file():
                job = Job(
                    flags=[
                        f"--config={self.plan.base}",
                        *as_flags({**settings, **seed_settings}),
                        f"--output={folder}",
                    ],
                    folder=str(folder),
                    definition=asdict(definition),
                    sweep=str(self.plan.folder),
                    trial=trial._trial_id,
                    parent=os.getpid(),
                    before=figures,
                    steps=self.plan.steps,
                )
                status = self._run_with_retries(trial, job, claim)
                if status != 0:
                    self._report_early_end(study, trial, folder, status, f"({describe(values)})")
                    return
            figures.append(json.loads((folder / RESULT).read_text())["figures"])
        means = [mean_figure(figures, name) for name in definition.objectives]
        if not all(map(math.isfinite, means)):
            trial.set_user_attr("error", f"{next(iter(definition.objectives))} is {means[0]}")
            study.tell(trial, state=TrialState.FAIL)
            return
        trial.set_user_attr("figures", {name: mean_figure(figures, name) for name in figures[0]})
        study.tell(trial, means)
        objectives: dict[str, Any] = dict(zip(definition.objectives, means, strict=True))
        say(f"trial {number}: {describe(objectives)} ({describe(values)})")

    def _report_early_end(self, study: Study, trial: Trial, folder: Path, status: int, values: str) -> None:
        """Report a pruned or failed fit to Optuna, and print a line.

        Raises:
            Refused: if ``fit`` refuses the configuration and no trial of the sweep is complete.
        """
        number = int(folder.parent.name)
        if status == PRUNED:
            study.tell(trial, state=TrialState.PRUNED)
            step = max(read_validations(folder), default=0)
            say(f"trial {number}: pruned at step {step:,} of {folder.name} {values}")
            return
        error = last_error(log_file(folder))
        trial.set_user_attr("error", error)
        study.tell(trial, state=TrialState.FAIL)
        complete = any(other.state == TrialState.COMPLETE for other in study.get_trials(deepcopy=False))
        if status == 2 and not complete:
            raise Refused(f"trial {number}: {error}")
        say(f"trial {number}: failed: {error} {values}; {log_file(folder)}")

    def _run_with_retries(self, trial: Trial, job: Job, claim: Claim) -> int:
        """Run a fit; a failed one restarts from its checkpoint, ``retries`` times; gives the exit status."""
        retries = self.plan.definition.retries
        for attempt in range(retries + 1):
            start = time.monotonic()
            status = run_fit(job, claim, self.stop, self.environment, self.plan.url)
            seconds = float(trial.user_attrs.get("seconds", 0.0)) + time.monotonic() - start
            trial.set_user_attr("seconds", round(seconds, 1))
            if self.stop.is_set() and status not in (0, PRUNED):
                raise Interrupted
            if status in (0, 2, PRUNED):
                return status
            if attempt < retries:
                number = Path(job.folder).parent.name
                say(f"trial {number}: ended with status {status}; it restarts from its checkpoint")
        return status
