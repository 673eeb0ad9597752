"""A run that goes on (``fit --ckpt_path``): which folder is its own, and what its configuration now has otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hypernoise_pl.checkpoints import newest_run_to_continue

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
    was, now = dict(_leaves(before)), dict(_leaves(after))
    names = [name for name in {**was, **now} if was.get(name) != now.get(name) and name != "output"]
    said = [f"{name} {_said(now, name)} (was {_said(was, name)})" for name in names[:SHOWN]]
    more = [f"{len(names) - SHOWN} more"] if len(names) > SHOWN else []
    return ", ".join(said + more)


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names, as flags have them, and values."""
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from _leaves(part, name if key == "init_args" else f"{name}.{key}".lstrip("."))
    elif isinstance(value, list) and any(isinstance(part, (Mapping, list)) for part in value):
        for place, part in enumerate(value):
            yield from _leaves(part, f"{name}.{place}")
    else:
        yield name, value


def _said(leaves: Mapping[str, Any], name: str) -> str:
    return str(leaves[name]) if name in leaves else "not there"
