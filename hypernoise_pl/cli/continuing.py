"""A run that goes on (``fit --ckpt_path``): which folder is its own, and what its configuration now has otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypernoise_pl.config.flat import leaves
from hypernoise_pl.report.live import PAGE
from hypernoise_pl.report.page import REPORT
from hypernoise_pl.training.checkpoint_io import newest_run_to_continue

CONFIG = "config.yaml"
SHOWN = 6  # differences that are written out


def run_of(asked: str, output: Path | None, kind: str = "fit") -> Path:
    """The run folder whose configuration a continued run starts from.

    Args:
        asked: ``last`` or a checkpoint file.
        output: run folder that was named, if one was.
        kind: folder under ``runs/`` where the newest is looked for.

    Raises:
        FileNotFoundError: if ``last`` is asked for and no run has a checkpoint.
    """
    if asked == "last":
        return newest_run_to_continue(kind) if output is None else output
    above = Path(asked).parents[:2]  # a file lies in checkpoints/ of its run folder, or in the folder itself
    return next((folder for folder in above if (folder / CONFIG).is_file()), above[0])


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What is otherwise in a configuration than it was, as ``trainer.max_steps 1200 (was 800)``; empty if nothing."""
    was, now = dict(leaves(before)), dict(leaves(after))
    names = [name for name in {**was, **now} if was.get(name) != now.get(name) and name != "output"]
    said = [f"{name} {_said(now, name)} (was {_said(was, name)})" for name in names[:SHOWN]]
    more = [f"{len(names) - SHOWN} more"] if len(names) > SHOWN else []
    return ", ".join(said + more)


def to_look_at(folder: Path, since: float) -> dict[str, Path]:
    """What a run that has stopped leaves to look at: its newest picture, its page and its newest adapter.

    Args:
        folder: of the run.
        since: seconds since 1970; a folder of which no such file is newer is another run's, and has nothing.
    """
    pictures = sorted(folder.glob("images/*.png"), key=_age)
    adapters = sorted(folder.glob("adapter*/adapter_model.safetensors"), key=_age)
    pages = [folder / name for name in (PAGE, REPORT) if (folder / name).is_file()]
    if not any(_age(file) >= since for file in (*pictures, *pages, *adapters)):
        return {}
    found = {"newest picture": pictures, "page": pages, "newest adapter": [file.parent for file in adapters]}
    return {name: paths[-1] for name, paths in found.items() if paths}


def _age(file: Path) -> float:
    return file.stat().st_mtime


def _said(leaves: Mapping[str, Any], name: str) -> str:
    return str(leaves[name]) if name in leaves else "not there"
