"""``sweep``: checks a definition, begins or continues its folder, runs the workers, and shows what they find."""

from __future__ import annotations

import io
import json
import os
import secrets
import shlex
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

import yaml

from hypernoise_pl.callbacks.progress import spoken
from hypernoise_pl.cli.command_table import PROGRAM
from hypernoise_pl.cli.outcome import Outcome
from hypernoise_pl.cli.quiet import quiet
from hypernoise_pl.config.flags import read_flags
from hypernoise_pl.config.flat import changes
from hypernoise_pl.config.loading import read_mapping
from hypernoise_pl.config.options import Options
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.progress import Steps, phase
from hypernoise_pl.runs.step_time import known_step_time
from hypernoise_pl.sweep.base import base_of, check, devices_of, seed_flags, steps_of
from hypernoise_pl.sweep.definition import Definition, read_definition
from hypernoise_pl.sweep.report import PAGE, write_report
from hypernoise_pl.sweep.results import SUMMARY, best, command_of, points, summary
from hypernoise_pl.sweep.space import grid_point, words
from hypernoise_pl.sweep.study import JOURNAL, STORAGE_VARIABLE, open_storage, shown_url, storage_url
from hypernoise_pl.sweep.table import table
from hypernoise_pl.sweep.worker import Plan, Worker
from hypernoise_pl.system.files import RUNS, write_text
from hypernoise_pl.system.signals import Stopped

DEFINITION, BASE = "sweep.yaml", "base.yaml"
CORES = os.cpu_count() or 1
LOOK = 3.0  # seconds between two looks at the workers


def main(arguments: Sequence[str], options: Options, flags: list[str]) -> Outcome:
    """Run a sweep.

    Args:
        arguments: arguments of the command line after the command.
        options: its flags.
        flags: the remaining arguments: keys of the configuration.
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
        base = base_of(definition)
        full = check(definition, base)
    folder = options.output or RUNS / "sweep" / definition.name
    url = storage_url(options.storage)
    if options.dry_run:
        outcome.result = _dry_run(definition, full, folder, url, options)
        return
    _begin(folder, definition, base)
    deadline = None if definition.hours is None else time.monotonic() + 3600 * definition.hours
    seeds = [seed_flags(base, seed) for seed in range(definition.seeds)]
    plan = Plan(
        definition,
        folder,
        url,
        open_storage(folder, url),
        folder / BASE,
        seeds,
        steps_of(full),
        devices_of(full),
        deadline,
    )
    _same_folder(plan)
    _say_start(plan, options.workers)
    again = shlex.join(["python", "-m", "hypernoise_pl", "sweep", *arguments])
    outcome.status = _work(plan, options.workers, again)
    outcome.result = _finish(plan, done=outcome.status == 0)


def _work(plan: Plan, workers: int, again: str) -> int:
    """Run workers until nothing is left to do.

    Returns:
        0, or the exit status of a signal.
    """
    stop = threading.Event()
    team = [Worker(plan, stop, environment) for environment in environments(workers, plan.devices, _gpus(), CORES)]
    threads = [threading.Thread(target=worker.run, daemon=True) for worker in team]
    status, study, told = 0, plan.study(), [_note(plan)]  # reading what every trial found takes a while
    with Steps("sweep", plan.definition.points, "trials", _ended(study), lambda: told[0]) as steps:

        def look() -> None:
            told[0] = _note(plan)
            if (ended := _ended(study)) > steps.done:
                steps.advance(ended - steps.done)
                write_report(plan.definition, study, plan.folder, plan.base)

        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads):
                time.sleep(LOOK)
                look()
            look()
        except Stopped as stopped:
            stop.set()
            for thread in threads:
                thread.join()
            print(f"hypernoise_pl sweep: {stopped}; to continue: {again}", file=sys.stderr)
            status = stopped.code
    error = next((worker.error for worker in team if worker.error is not None), None)
    if error is not None:
        raise error
    return status


def _ended(study: Any) -> int:
    return sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))


def _note(plan: Plan) -> str:
    """How many run, and the best so far."""
    study = plan.study()
    found = points(study, plan.definition, plan.folder)
    running = sum(point.state == "running" for point in found)
    chosen = best(found, plan.definition, study)
    parts = [f"{running} running"]
    if chosen:
        figures = words({name: chosen[0].mean(name) for name in plan.definition.objectives})
        parts.append(
            f"best {figures} (trial {chosen[0].number})" if len(chosen) == 1 else f"{len(chosen)} on the front"
        )
    return ", ".join(parts)


def environments(workers: int, each: int, gpus: Sequence[str], cores: int) -> list[dict[str, str]]:
    """Variables of each worker's fits: GPUs of its own, or its share of the cores.

    Args:
        workers: fits at a time.
        each: devices of a fit.
        gpus: as ``CUDA_VISIBLE_DEVICES`` names them; none on a machine without.
        cores: of the machine.

    Raises:
        ConfigError: if a fit takes more GPUs than there are.
    """
    if gpus:
        if each > len(gpus):
            raise ConfigError(f"trainer.devices: {each}, and there are {len(gpus)} GPUs; a fit takes all its own")
        teams = [gpus[place : place + each] for place in range(0, len(gpus) - each + 1, each)]
        return [{"CUDA_VISIBLE_DEVICES": ",".join(teams[place % len(teams)])} for place in range(workers)]
    if workers == 1 or "OMP_NUM_THREADS" in os.environ:
        return [{} for _ in range(workers)]
    return [{"OMP_NUM_THREADS": str(max(1, cores // (workers * each)))} for _ in range(workers)]


def _gpus() -> list[str]:
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return named.split(",")[:count] if named else [str(place) for place in range(count)]


def _begin(folder: Path, definition: Definition, base: dict[str, Any]) -> None:
    """Write what the sweep is into its folder, or see that it is this one's.

    Raises:
        ConfigError: naming what is otherwise.
    """
    file = folder / DEFINITION
    if file.is_file():
        there = Definition(**read_mapping(file))
        otherwise = changes(there.fixed(), definition.fixed()) or changes(read_mapping(folder / BASE), base)
        if otherwise:
            raise ConfigError(f"--output {folder}: holds another sweep: {otherwise}; give another --output")
    elif folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"--output {folder}: holds other files and no sweep; give another --output")
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / BASE).is_file():
        write_text(folder / BASE, yaml.safe_dump(base, sort_keys=False, width=120))
    write_text(file, definition.as_yaml())


def _same_folder(plan: Plan) -> None:
    """Make the study, or see that the storage's study of this name is of this folder.

    Raises:
        ConfigError: if it is of another: its points would be taken for this one's.
    """
    study, file = plan.study(), plan.folder / "id"
    with suppress(FileExistsError), file.open("x") as opened:
        opened.write(secrets.token_hex(8))
    while not (own := file.read_text()):
        time.sleep(0.1)  # another process is writing it
    there = study.user_attrs.get("folder", {"id": own})
    if there["id"] != own:
        raise ConfigError(
            f"--storage: has a sweep called {study.study_name} already, of the folder {there['path']}; give that as "
            "--output, or the file another `name`"
        )
    study.set_user_attr("folder", {"id": own, "path": str(plan.folder.resolve())})


def _say_start(plan: Plan, workers: int) -> None:
    definition = plan.definition
    size = f"{definition.points} trials" + (f" x {definition.seeds} seeds" if definition.seeds > 1 else "")
    print(f"sweep: {definition.description or definition.name}\nsweep: {size}, {definition.sampler_name}", end="")
    print(f", pruned by {definition.pruner_name}" if definition.pruner_name != "none" else "", end="")
    print(f", {workers} worker{'s' if workers > 1 else ''}\nsweep: run folder {plan.folder}")
    print(f"dashboard    {_dashboard(plan.folder, plan.url)}", flush=True)


def _dashboard(folder: Path, url: str | None) -> str:
    """The command that shows the study in a browser; a password is left to the variable."""
    if url is not None and shown_url(url) != url:
        return f'optuna-dashboard "${STORAGE_VARIABLE}"'
    return shlex.join(["optuna-dashboard", str(folder / JOURNAL) if url is None else url])


def _finish(plan: Plan, done: bool) -> dict[str, Any]:
    study = plan.study()
    found = points(study, plan.definition, plan.folder)
    write_report(plan.definition, study, plan.folder, plan.base)
    left = plan.definition.points - len(found)
    if done and left:
        print(
            f"sweep: {plan.definition.hours:g} hours are over, and {left} trials were not begun; the same command goes "
            "on"
        )
    if done and found:
        print(f"\n{table(found, plan.definition)}\n")
        for point in best(found, plan.definition, study):
            print(f"best         trial {point.number}: {words(point.values)}")
            print(f"again        {command_of(point, plan.definition, plan.base)}")
    if found:
        print(f"report       {plan.folder / PAGE}\nsummary      {plan.folder / SUMMARY}", flush=True)
    return summary(plan.definition, found, study, plan.folder, plan.base)


def _time(definition: Definition, full: dict[str, Any], folder: Path, workers: int) -> str:
    """How long a sweep takes at most, in words: by its own fits, or by earlier runs of the same work."""
    fits = definition.points * definition.seeds
    each, by = _seconds_of_a_fit(full, folder)
    if each is None:
        return f"not known: no run here did the same work; {PROGRAM} fit says after its first steps what one takes"
    less = "" if definition.pruner_name == "none" else ", less what is pruned"
    return f"{spoken(each * fits / workers)} with --workers {workers}{less}; {spoken(each)} a fit, by {by}"


def _seconds_of_a_fit(full: dict[str, Any], folder: Path) -> tuple[float | None, str]:
    try:
        done = json.loads((folder / SUMMARY).read_text())["trials"]
        taken = sum(trial["seconds"] for trial in done), sum(sum(trial["steps"]) for trial in done)
    except FileNotFoundError:
        taken = 0.0, 0
    steps = steps_of(full)
    if steps is None:
        return None, ""
    if taken[1]:
        return steps * taken[0] / taken[1], "this sweep's own fits, beside one another"
    known = known_step_time(full)
    return (None, "") if known is None else (steps * known[0], f"{known[1]}, without validations")


def _dry_run(
    definition: Definition, full: dict[str, Any], folder: Path, url: str | None, options: Options
) -> dict[str, Any]:
    """Print what would be run; gives the same for ``--json``."""
    steps, fits = steps_of(full), definition.points * definition.seeds
    print(f"sweep: dry run, nothing is made: {definition.description}")
    rows = [
        ("trials", f"{definition.points}, by {definition.sampler_name}, pruned by {definition.pruner_name}"),
        ("fits", f"{fits} of {steps} steps" if steps else str(fits)),
        ("objectives", ", ".join(f"{direction} {name}" for name, direction in definition.objectives.items())),
        ("time", _time(definition, full, folder, options.workers)),
        ("run folder", f"{folder}{' (continues)' if (folder / DEFINITION).is_file() else ''}"),
        ("storage", str(folder / JOURNAL) if url is None else shown_url(url)),
    ]
    for place, each in enumerate(definition.dimensions):
        rows.append(("varied" if place == 0 else "", str(each)))
    print("\n".join(f"{name:<12} {said}" for name, said in rows))
    if definition.sampler_name == "grid":
        for number in range(definition.points):
            values = grid_point(definition.dimensions, number)
            print(f"trial {number:<6} {words(values)}")
    print(f"nothing is missing; {PROGRAM} sweep {options.name} begins")
    return {"trials": definition.points, "fits": fits, "steps": steps, "folder": str(folder)}
