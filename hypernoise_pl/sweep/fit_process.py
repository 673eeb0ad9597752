"""Runs one fit of a sweep in a process of its own, and watches it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

from hypernoise_pl.sweep.claims import HEARTBEAT_SECONDS, Claim
from hypernoise_pl.sweep.study import STORAGE_VARIABLE
from hypernoise_pl.sweep.trial import Job
from hypernoise_pl.system.files import lock_folder, write_text
from hypernoise_pl.training.checkpoint_io import newest_checkpoint

LOG = "log.txt"
# variables of this process that a fit must not inherit
_NOT_INHERITED = ("HYPERNOISE_OUTPUT", "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "SLURM_PROCID")


def run_fit(job: Job, claim: Claim, stop: threading.Event, environment: dict[str, str], url: str | None) -> int:
    """Run one process of a fit, from its newest checkpoint if it has one.

    Args:
        job: the fit's flags and folder.
        claim: claim on the point; it is refreshed while the process runs.
        stop: event that asks the process to save a checkpoint and end.
        environment: additional environment variables of the process.
        url: URL of the storage; None for the journal.

    Returns:
        Exit status of the process; 128 plus the signal's number if a signal ended it.
    """
    folder = Path(job.folder)
    _wait_until_free(folder, stop)
    flags = job.flags
    if folder.is_dir():
        if newest_checkpoint(folder) is None:
            shutil.rmtree(folder)  # nothing to continue
        else:
            flags = [*flags, "--ckpt_path=last"]
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "trial.json"
    write_text(file, json.dumps(asdict(job) | {"flags": flags}, indent=1) + "\n")
    inherited = {key: value for key, value in os.environ.items() if key not in _NOT_INHERITED}
    storage = {} if url is None else {STORAGE_VARIABLE: url}
    with log_file(folder).open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "hypernoise_pl.sweep.trial", str(file)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=inherited | environment | storage,
            start_new_session=True,  # Ctrl+C reaches the sweep only, which stops its fits one by one
        )
        try:
            return _wait(process, claim, stop)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def log_file(folder: Path) -> Path:
    """The file that holds the output of all fits of a point.

    Args:
        folder: run folder of one of the fits.
    """
    return folder.with_name(LOG)


def last_error(log: Path) -> str:
    """The last error that a fit printed, without the command's name; its last line if it printed no error."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "error: " in line]
    return (errors or lines or ["no output"])[-1].partition("error: ")[2] or (lines or [""])[-1]


def _wait(process: subprocess.Popen[bytes], claim: Claim, stop: threading.Event) -> int:
    """Wait until the process ends; refresh the claim meanwhile, and ask the process to end on ``stop``."""
    refreshed, asked = time.monotonic(), False
    while True:
        try:
            status = process.wait(0.2)
            return 128 - status if status < 0 else status
        except subprocess.TimeoutExpired:
            pass
        if stop.is_set() and not asked:
            process.terminate()
            asked = True
        if time.monotonic() - refreshed > HEARTBEAT_SECONDS:
            claim.refresh()
            refreshed = time.monotonic()


def _wait_until_free(folder: Path, stop: threading.Event) -> None:
    """Wait until no process runs in the folder: the fit of a dead worker saves a checkpoint before it ends."""
    while folder.is_dir() and not stop.is_set():
        try:
            with lock_folder(folder):
                return
        except ValueError:
            stop.wait(0.5)
