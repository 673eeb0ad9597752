"""Checkpoints: written whole or not at all, found by what is in them, refused in one line where they are none."""

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

SAVED_AT = "saved_at"  # seconds since 1970; copies of a file have other times
_KEYS = ("state_dict", "optimizer_states", "global_step", "loops")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's own writes beside the system's temporary files and copies; a full disk then leaves half a file."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint to a local path, with the time.

        Raises:
            OSError: naming the file, if it cannot be written; what stood there is left as it was.
        """
        file, buffer = Path(path), io.BytesIO()
        torch.save(checkpoint | {SAVED_AT: time.time()}, buffer)
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as partial:
            partial.write_bytes(buffer.getbuffer())


def read_checkpoint(file: Path) -> dict[str, Any]:
    """A checkpoint's entries; its tensors stay on disk until they are used.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is a folder, damaged, or no checkpoint of a training run.
    """
    if (file / "hypernoise.json").is_file():
        newest = newest_checkpoint(file.parent)
        hint = f"; its run goes on from --ckpt_path {newest[0]}" if newest else ""
        raise ValueError(f"checkpoint {file}: an adapter; `test --adapter {file}` measures it{hint}")
    if file.is_dir():
        inside = newest_checkpoint(file)
        hint = f"its newest is {inside[0]}" if inside else "there is none in it"
        raise ValueError(f"checkpoint {file}: a folder; pass a checkpoint file: {hint}")
    if not file.exists():
        raise FileNotFoundError(f"checkpoint {file}: no such file; leave --ckpt_path out to begin anew")
    wanted = "pass a .ckpt file that fit wrote, or leave --ckpt_path out to begin anew"
    if not zipfile.is_zipfile(file):
        what = "empty" if not file.stat().st_size else "damaged, or no checkpoint"
        raise ValueError(f"checkpoint {file}: {what}; {wanted}")
    try:
        found = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise ValueError(f"checkpoint {file}: damaged, or no checkpoint; {wanted}") from error
    missing = [key for key in _KEYS if not isinstance(found, dict) or key not in found]
    if missing:
        raise ValueError(f"checkpoint {file}: no checkpoint of a training run, it has no {missing[0]!r}; {wanted}")
    return found  # type: ignore[no-any-return]


def checkpoint_to_resume(asked: str | None, folder: Path) -> Path | None:
    """The checkpoint that a training run in a folder begins with.

    Within a folder steps only grow, so that the checkpoint of most steps is where its run is.

    Args:
        asked: ``last`` for the newest in the folder, a file, or None to begin anew.
        folder: of the run.

    Returns:
        The file; None to begin anew.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ConfigError: if a run would begin anew, or from an earlier step, in a folder that holds one.
        ValueError: if the checkpoint is damaged, or is none.
    """
    newest = newest_checkpoint(folder) if folder.is_dir() else None
    if asked is None:
        if newest is not None:
            raise ConfigError(
                f"--output {folder}: holds a run already; add --ckpt_path last to continue it from step "
                f"{newest[1]['global_step']}, or give another --output"
            )
        if _results(folder):
            raise ConfigError(f"--output {folder}: holds a run already, without a checkpoint; give another --output")
        return None
    if asked == "last":
        if newest is None:
            raise FileNotFoundError(f"--ckpt_path last: no checkpoint in {folder}; leave it out to begin anew")
        return newest[0]
    file, step = Path(asked), read_checkpoint(Path(asked))["global_step"]
    if newest is not None and step < newest[1]["global_step"]:
        raise ConfigError(
            f"--ckpt_path {file}: of step {step}, and {folder} holds one of step {newest[1]['global_step']}; give "
            "another --output to go on from here, or --ckpt_path last"
        )
    return file


def check_unused(folder: Path) -> None:
    """Check that a measurement would not take the place of what a run has left in a folder.

    Raises:
        ConfigError: naming what there is.
    """
    if found := _results(folder):
        raise ConfigError(f"--output {folder}: holds a run already ({found}); give another --output")


def _results(folder: Path) -> str:
    """What a run has left in a folder; empty if nothing."""
    return next((name for name in ("adapter", "adapter-best", "summary.json") if (folder / name).exists()), "")


def newest_checkpoint(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The checkpoint of most steps under a folder, the last written among equals; None if there is none.

    Raises:
        ValueError: if one of them is damaged.
    """
    found = [(file, read_checkpoint(file)) for file in sorted(folder.rglob("*.ckpt")) if file.is_file()]
    return max(found, key=lambda pair: (pair[1]["global_step"], _saved_at(*pair)), default=None)


def newest_resumable_run(kind: str = "fit") -> Path:
    """The run folder under ``runs/KIND`` in which a checkpoint was written last.

    Raises:
        FileNotFoundError: if none of them has one.
    """
    files = [file for file in (RUNS / kind).glob("*/**/*.ckpt") if file.is_file()]
    if not files:
        raise FileNotFoundError(f"{RUNS / kind}: no run with a checkpoint in it; leave --ckpt_path out to begin one")
    newest = max(files, key=_written_at)
    return RUNS / kind / newest.relative_to(RUNS / kind).parts[0]


def _written_at(file: Path) -> float:
    """When a checkpoint was written; of one that is damaged, when its file was: that it is will be said if it is it."""
    try:
        return _saved_at(file, read_checkpoint(file))
    except ValueError:
        return file.stat().st_mtime


def _saved_at(file: Path, checkpoint: dict[str, Any]) -> float:
    return float(checkpoint.get(SAVED_AT) or file.stat().st_mtime)
