"""``sweep``: checks a definition, starts or continues its folder, runs the workers, and prints the results."""

from __future__ import annotations

import io
import shlex
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from hypernoise_pl.cli.outcome import Outcome
from hypernoise_pl.cli.quiet import quiet
from hypernoise_pl.config.flags import read_flags
from hypernoise_pl.config.options import Options
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.progress import Steps, phase
from hypernoise_pl.sweep.base import base_config, check_definition, fit_devices, fit_steps, seed_settings
from hypernoise_pl.sweep.definition import Definition
from hypernoise_pl.sweep.definition_file import read_definition
from hypernoise_pl.sweep.devices import CORES, visible_gpus, worker_environments
from hypernoise_pl.sweep.dry_run import dry_run
from hypernoise_pl.sweep.folder import BASE, bind_study, prepare_folder
from hypernoise_pl.sweep.plan import Plan
from hypernoise_pl.sweep.report import PAGE, write_report
from hypernoise_pl.sweep.results import SUMMARY, best_points, fit_command, read_points, summarise
from hypernoise_pl.sweep.study import JOURNAL, STORAGE_VARIABLE, open_storage, shown_url, storage_url
from hypernoise_pl.sweep.table import table
from hypernoise_pl.sweep.values import describe
from hypernoise_pl.sweep.worker import Worker
from hypernoise_pl.system.files import RUNS
from hypernoise_pl.system.signals import Stopped

POLL_SECONDS = 3.0  # between two looks at the study


def main(arguments: Sequence[str], options: Options, flags: list[str]) -> Outcome:
    """Run a sweep.

    Args:
        arguments: arguments of the command line after the command.
        options: flags of the command.
        flags: remaining arguments: keys of the configuration.
    """
    with Outcome("sweep", options.verbose) as outcome, quiet(options.verbose):
        outcome.begun = True
        _run(arguments, options, flags, outcome)
    return outcome


def _run(arguments: Sequence[str], options: Options, flags: list[str], outcome: Outcome) -> None:
    assert options.name is not None
    if options.workers < 1:
        raise ConfigError(f"--workers {options.workers}: at least 1 is needed")
    if options.output is not None and options.output.exists() and not options.output.is_dir():
        raise ConfigError(f"--output {options.output}: a file; give a folder")
    with phase("sweep: checking every name and value"), redirect_stdout(io.StringIO()):  # Lightning prints the seed
        definition = read_definition(options.name, [*read_flags(flags)])
        base = base_config(definition)
        full = check_definition(definition, base)
    folder = options.output or RUNS / "sweep" / definition.name
    url = storage_url(options.storage)
    if options.dry_run:
        outcome.result = dry_run(definition, full, folder, url, options)
        return
    prepare_folder(folder, definition, base)
    deadline = None if definition.hours is None else time.monotonic() + 3600 * definition.hours
    plan = Plan(
        definition=definition,
        folder=folder,
        url=url,
        storage=open_storage(folder, url),
        base=folder / BASE,
        seeds=[seed_settings(base, seed) for seed in range(definition.seeds)],
        steps=fit_steps(full),
        devices=fit_devices(full),
        deadline=deadline,
    )
    bind_study(plan)
    _print_start(plan, options.workers)
    outcome.status = _run_workers(
        plan, options.workers, shlex.join(["python", "-m", "hypernoise_pl", "sweep", *arguments])
    )
    outcome.result = _finish(plan, complete=outcome.status == 0)


def _run_workers(plan: Plan, count: int, command: str) -> int:
    """Run workers until every point has ended.

    Args:
        plan: plan of the sweep.
        count: number of workers.
        command: command that continues the sweep.

    Returns:
        0, or the exit status of a signal.
    """
    stop = threading.Event()
    environments = worker_environments(count, plan.devices, visible_gpus(), CORES)
    workers = [Worker(plan, stop, environment) for environment in environments]
    threads = [threading.Thread(target=worker.run, daemon=True) for worker in workers]
    status, study, note = 0, plan.study(), [_note(plan)]  # the note is kept, because reading all points is slow
    with Steps("sweep", plan.definition.points, "trials", _count_ended(study), lambda: note[0]) as steps:

        def update() -> None:
            note[0] = _note(plan)
            if (ended := _count_ended(study)) > steps.done:
                steps.advance(ended - steps.done)
                write_report(plan.definition, study, plan.folder, plan.base)

        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads):
                time.sleep(POLL_SECONDS)
                update()
            update()
        except Stopped as stopped:
            stop.set()
            for thread in threads:
                thread.join()
            print(f"hypernoise_pl sweep: {stopped}; to continue: {command}", file=sys.stderr)
            status = stopped.code
    error = next((worker.error for worker in workers if worker.error is not None), None)
    if error is not None:
        raise error
    return status


def _count_ended(study: Any) -> int:
    return sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))


def _note(plan: Plan) -> str:
    """The number of running trials, and the best one."""
    study = plan.study()
    points = read_points(study, plan.definition, plan.folder)
    running = sum(point.state == "running" for point in points)
    best = best_points(points, plan.definition, study)
    parts = [f"{running} running"]
    if len(best) == 1:
        figures = describe({name: best[0].mean(name) for name in plan.definition.objectives})
        parts.append(f"best {figures} (trial {best[0].number})")
    elif best:
        parts.append(f"{len(best)} on the Pareto front")
    return ", ".join(parts)


def _print_start(plan: Plan, workers: int) -> None:
    definition = plan.definition
    pruner = definition.pruner_choice.name
    parts = [f"{definition.points} trials" + (f" x {definition.seeds} seeds" if definition.seeds > 1 else "")]
    parts += [definition.sampler_choice.name, *([f"pruned by {pruner}"] if pruner != "none" else [])]
    parts += [f"{workers} worker{'s' if workers > 1 else ''}"]
    print(f"sweep: {definition.description or definition.name}\nsweep: {', '.join(parts)}")
    print(f"sweep: run folder {plan.folder}\ndashboard    {_dashboard(plan.folder, plan.url)}", flush=True)


def _dashboard(folder: Path, url: str | None) -> str:
    """The command that shows the study in a browser; a URL with a password stands in the environment variable."""
    if url is not None and shown_url(url) != url:
        return f'optuna-dashboard "${STORAGE_VARIABLE}"'
    return shlex.join(["optuna-dashboard", str(folder / JOURNAL) if url is None else url])


def _finish(plan: Plan, complete: bool) -> dict[str, Any]:
    """Write the report and print the results; gives the contents of ``summary.json``."""
    study = plan.study()
    points = read_points(study, plan.definition, plan.folder)
    write_report(plan.definition, study, plan.folder, plan.base)
    if complete:
        _print_results(plan, points, study)
    if points:
        print(f"report       {plan.folder / PAGE}\nsummary      {plan.folder / SUMMARY}", flush=True)
    return summarise(plan.definition, points, study, plan.folder, plan.base)


def _print_results(plan: Plan, points: Sequence[Any], study: Any) -> None:
    definition: Definition = plan.definition
    missing = definition.points - len(points)
    if missing:
        print(f"sweep: {definition.hours:g} hours are over, {missing} trials did not start; the same command continues")
    if not points:
        return
    print(f"\n{table(points, definition)}\n")
    for point in best_points(points, definition, study):
        print(f"best         trial {point.number}: {describe(point.values)}")
        print(f"again        {fit_command(point, definition, plan.base)}")
