"""The commit and the package versions that produced a result."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "lightning", "diffusers", "transformers", "peft", "torchmetrics", "optuna")


def versions() -> dict[str, str]:
    """Package -> version, with ``python``, and ``commit`` if the package lies in a Git checkout."""
    from hypernoise_pl import __version__

    result = {"hypernoise_pl": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            result[package] = version(package)
        except PackageNotFoundError:
            continue
    return result | commit()


def commit() -> dict[str, str]:
    """The commit of the checkout, with ``+changes`` if tracked files differ from it; empty outside a checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return {}
    try:
        head = _git(root, "rev-parse", "HEAD")
        return {"commit": f"{head}{'+changes' if _git(root, 'status', '--porcelain', '-uno') else ''}"}
    except (OSError, subprocess.CalledProcessError):
        return {}


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()
