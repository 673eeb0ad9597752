"""Who works on a point: claims in its folder, taken by one worker alone, and free again once that worker is gone.

A claim is a file that is made exclusively, which is atomic on every file system, networks' too. Its owner touches it
every so often; whether it still does is told by the change, not by the time, for machines' clocks differ.
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

BEAT = 20.0  # seconds between two signs of life
GRACE = 240.0  # seconds without one after which a worker of another machine is taken for dead; NFS may show a change a
# minute late


class Claim:
    """A claim on a folder.

    Args:
        file: of the claim.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def beat(self) -> None:
        """Say that its owner lives."""
        os.utime(self.file)

    def release(self) -> None:
        """Leave the folder to the next."""
        write_text(self.file, json.dumps({**_me(), "released": True}))


def new_folder(above: Path, number: int) -> Claim | None:
    """Make the folder of a point, and claim it; None if somebody else has made it."""
    folder = above / f"{number:04d}"
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return None
    return _claim(folder, 1)


class Watch:
    """What a worker has seen of the claims of others."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[float, float]] = {}  # claim -> its time, and when this worker first saw that time

    def take(self, folder: Path) -> Claim | None:
        """Claim a folder whose owner has released it or is gone; None if it is owned, or somebody else was faster."""
        claims = sorted(folder.glob("claim-*.json"))
        if not claims:  # whoever made the folder is about to
            return _claim(folder, 1) if self._silent(folder) else None
        newest = claims[-1]
        return _claim(folder, int(newest.stem.partition("-")[2]) + 1) if self._free(newest) else None

    def _free(self, claim: Path) -> bool:
        try:
            owner: dict[str, Any] = json.loads(claim.read_text())
        except ValueError:  # being written
            return self._silent(claim)
        if owner.get("released"):
            return True
        return not _lives(owner) if owner["machine"] == _machine() else self._silent(claim)

    def _silent(self, place: Path) -> bool:
        """Whether nothing has changed there for longer than ``GRACE``."""
        written, now = place.stat().st_mtime, time.monotonic()
        before = self._seen.get(place)
        if before is None or before[0] != written:
            self._seen[place] = (written, now)
            return False
        return now - before[1] > GRACE


def _claim(folder: Path, number: int) -> Claim | None:
    file = folder / f"claim-{number:04d}.json"
    try:
        with file.open("x") as opened:
            opened.write(json.dumps(_me()))
    except FileExistsError:
        return None
    return Claim(file)


def _me() -> dict[str, Any]:
    return {"machine": _machine(), "pid": os.getpid(), "started": psutil.Process().create_time()}


def _machine() -> str:
    """Host and, where there are such, its process namespace: a pid means something in one alone."""
    try:
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _lives(owner: dict[str, Any]) -> bool:
    try:
        return abs(psutil.Process(owner["pid"]).create_time() - owner["started"]) < 1
    except psutil.NoSuchProcess:
        return False
