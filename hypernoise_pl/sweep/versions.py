"""What made a result: the commit, and the versions of what it stands on."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "lightning", "diffusers", "transformers", "peft", "torchmetrics", "optuna")


def versions() -> dict[str, str]:
    """Package -> version, ``python``, and ``commit`` where the package lies in a checkout."""
    from hypernoise_pl import __version__

    found = {"hypernoise_pl": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found | commit()


def commit() -> dict[str, str]:
    """The checkout's commit, with ``+changes`` where files differ from it; empty outside of one."""
    here = Path(__file__).parents[2]
    if not (here / ".git").exists():
        return {}
    try:
        head = _git(here, "rev-parse", "HEAD")
        return {"commit": f"{head}{'+changes' if _git(here, 'status', '--porcelain', '-uno') else ''}"}
    except (OSError, subprocess.CalledProcessError):
        return {}


def _git(here: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(here), *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()
