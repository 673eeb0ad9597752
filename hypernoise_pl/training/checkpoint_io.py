"""Checkpoint files: atomic writing, reading with checks, and the choice of the checkpoint to resume."""

from __future__ import annotations

import io
import pickle
import time
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.system.files import RUNS, atomic_write

SAVED_AT = "saved_at"  # seconds since 1970; a file's own time changes when it is copied
_KEYS = ("state_dict", "optimizer_states", "global_step", "loops")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically. Lightning's own class copies a temporary file; a full disk leaves half a copy."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint and the time to a local path.

        Raises:
            OSError: if the file cannot be written; the message names it, and an older file stays unchanged.
        """
        file, buffer = Path(path), io.BytesIO()
        torch.save(checkpoint | {SAVED_AT: time.time()}, buffer)
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as partial:
            partial.write_bytes(buffer.getbuffer())


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Read a checkpoint's entries; its tensors stay on disk until they are used.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the path is a folder, or the file is damaged or not the checkpoint of a training run.
    """
    if (file / "hypernoise.json").is_file():
        newest = newest_checkpoint(file.parent)
        hint = f", or resume its run with --ckpt_path {newest[0]}" if newest else ""
        raise ValueError(f"checkpoint {file}: an adapter; measure it with `test --adapter {file}`{hint}")
    if file.is_dir():
        inside = newest_checkpoint(file)
        hint = f"the newest in it is {inside[0]}" if inside else "it contains none"
        raise ValueError(f"checkpoint {file}: a folder; pass a checkpoint file: {hint}")
    if not file.exists():
        raise FileNotFoundError(f"checkpoint {file}: no such file; leave --ckpt_path out to start anew")
    remedy = "pass a .ckpt file that fit wrote, or leave --ckpt_path out to start anew"
    if not zipfile.is_zipfile(file):
        fault = "empty" if not file.stat().st_size else "damaged, or not a checkpoint"
        raise ValueError(f"checkpoint {file}: {fault}; {remedy}")
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise ValueError(f"checkpoint {file}: damaged, or not a checkpoint; {remedy}") from error
    missing = [key for key in _KEYS if not isinstance(checkpoint, dict) or key not in checkpoint]
    if missing:
        raise ValueError(
            f"checkpoint {file}: not the checkpoint of a training run, since it has no {missing[0]!r}; {remedy}"
        )
    return checkpoint  # type: ignore[no-any-return]


def checkpoint_to_resume(requested: str | None, folder: Path) -> Path | None:
    """Find the checkpoint that a training run in a folder starts from.

    Steps only grow within a run folder; its newest checkpoint is the one with the most steps.

    Args:
        requested: ``last`` for the newest in the folder, a file, or None to start anew.
        folder: run folder.

    Returns:
        The file; None to start anew.

    Raises:
        FileNotFoundError: if the checkpoint does not exist.
        ConfigError: if the folder holds a run already and this run starts anew or from an earlier step.
        ValueError: if the file is damaged or not a checkpoint.
    """
    newest = newest_checkpoint(folder) if folder.is_dir() else None
    if requested is None:
        if newest is not None:
            raise ConfigError(
                f"--output {folder}: holds a run already; add --ckpt_path last to continue it from step "
                f"{newest[1]['global_step']}, or give another --output"
            )
        if _results(folder):
            raise ConfigError(f"--output {folder}: holds a run already, without a checkpoint; give another --output")
        return None
    if requested == "last":
        if newest is None:
            raise FileNotFoundError(f"--ckpt_path last: no checkpoint in {folder}; leave it out to start anew")
        return newest[0]
    file, step = Path(requested), read_checkpoint(Path(requested))["global_step"]
    if newest is not None and step < newest[1]["global_step"]:
        raise ConfigError(
            f"--ckpt_path {file}: is of step {step}, but {folder} has a checkpoint of step {newest[1]['global_step']}; "
            "give another --output to continue from here, or --ckpt_path last"
        )
    return file


def check_unused(folder: Path) -> None:
    """Check that a folder holds no results which a measurement would replace.

    Raises:
        ConfigError: if it holds results; the message names one.
    """
    if result := _results(folder):
        raise ConfigError(f"--output {folder}: holds a run already ({result}); give another --output")


def _results(folder: Path) -> str:
    """The name of a result in a run folder; empty if there is none."""
    return next((name for name in ("adapter", "adapter-best", "summary.json") if (folder / name).exists()), "")


def newest_checkpoint(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Find the checkpoint with the most steps under a folder, the last written of equal ones; None if there is none.

    Raises:
        ValueError: if a checkpoint is damaged.
    """
    checkpoints = [(file, read_checkpoint(file)) for file in sorted(folder.rglob("*.ckpt")) if file.is_file()]
    return max(checkpoints, key=lambda pair: (pair[1]["global_step"], _saved_at(*pair)), default=None)


def newest_resumable_run(kind: str = "fit") -> Path:
    """Find the run folder under ``runs/KIND`` whose checkpoint was written last.

    Raises:
        FileNotFoundError: if no run there has a checkpoint.
    """
    files = [file for file in (RUNS / kind).glob("*/**/*.ckpt") if file.is_file()]
    if not files:
        raise FileNotFoundError(f"{RUNS / kind}: no run there has a checkpoint; leave --ckpt_path out to start one")
    newest = max(files, key=_written_at)
    return RUNS / kind / newest.relative_to(RUNS / kind).parts[0]


def _written_at(file: Path) -> float:
    """The time of writing; for a damaged checkpoint the file's time. Reading it later reports the damage."""
    try:
        return _saved_at(file, read_checkpoint(file))
    except ValueError:
        return file.stat().st_mtime


def _saved_at(file: Path, checkpoint: dict[str, Any]) -> float:
    return float(checkpoint.get(SAVED_AT) or file.stat().st_mtime)
