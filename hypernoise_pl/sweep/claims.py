"""Claims on the folders of points: one worker claims a folder, and a dead worker's folder becomes free.

A claim is a file that is created exclusively, which is atomic on every file system, network file systems included. Its
owner touches the file regularly. A reader looks for a change of the file's time and not at the time itself, because the
clocks of machines differ.
"""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import psutil

from hypernoise_pl.system.files import write_text

HEARTBEAT_SECONDS = 20.0  # between two touches of a claim
STALE_SECONDS = 240.0  # without a touch before another machine's worker counts as dead; NFS shows changes a minute late


class Claim:
    """A claim on a folder.

    Args:
        file: file of the claim.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def refresh(self) -> None:
        """Touch the file: the owner is alive."""
        os.utime(self.file)

    def release(self) -> None:
        """Free the folder for other workers."""
        write_text(self.file, json.dumps({**_this_process(), "released": True}))


def claim_new_folder(folder: Path) -> Claim | None:
    """Create the folder of a point and claim it; None if another worker has created it."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return None
    return _create_claim(folder, 1)


class ClaimWatcher:
    """Watches the claims of other workers, and claims the folders that they leave."""

    def __init__(self) -> None:
        # claim -> modification time of its file, and the moment when this worker first read that time
        self._changes: dict[Path, tuple[float, float]] = {}

    def claim_free_folder(self, folder: Path) -> Claim | None:
        """Claim a folder whose owner has released it or has died.

        Returns:
            The claim; None if the folder has an owner, or another worker claims it first.
        """
        claims = sorted(folder.glob("claim-*.json"))
        if not claims:  # the worker that created the folder has not written its claim yet
            return _create_claim(folder, 1) if self._is_stale(folder) else None
        newest = claims[-1]
        return _create_claim(folder, int(newest.stem.partition("-")[2]) + 1) if self._is_free(newest) else None

    def _is_free(self, claim: Path) -> bool:
        try:
            owner: dict[str, Any] = json.loads(claim.read_text())
        except ValueError:  # the file is being written
            return self._is_stale(claim)
        if owner.get("released"):
            return True
        return not _is_alive(owner) if owner["machine"] == _machine() else self._is_stale(claim)

    def _is_stale(self, path: Path) -> bool:
        """Whether a file or folder has not changed for longer than ``STALE_SECONDS``."""
        modified, now = path.stat().st_mtime, time.monotonic()
        previous = self._changes.get(path)
        if previous is None or previous[0] != modified:
            self._changes[path] = (modified, now)
            return False
        return now - previous[1] > STALE_SECONDS


def _create_claim(folder: Path, number: int) -> Claim | None:
    file = folder / f"claim-{number:04d}.json"
    try:
        with file.open("x") as opened:
            opened.write(json.dumps(_this_process()))
    except FileExistsError:
        return None
    return Claim(file)


def _this_process() -> dict[str, Any]:
    return {"machine": _machine(), "pid": os.getpid(), "started": psutil.Process().create_time()}


def _machine() -> str:
    """The host name and, on Linux, the process namespace: a process id is unique within one namespace only."""
    try:
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _is_alive(owner: dict[str, Any]) -> bool:
    try:
        return abs(psutil.Process(owner["pid"]).create_time() - owner["started"]) < 1
    except psutil.NoSuchProcess:
        return False
