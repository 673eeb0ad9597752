"""A profiler of training steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.profilers import Profiler, PyTorchProfiler

WAIT, WARM_UP = 1, 1  # steps before the recorded ones: they compile and fill caches


class TrainingProfiler(PyTorchProfiler):
    """Records a few training steps: ``trace.json`` for chrome://tracing or ui.perfetto.dev, ``fit-operators.txt``.

    Each process writes its own files. Validation and test are not recorded: Lightning's profiler fails if one has no
    batch.

    Args:
        dirpath: folder for the files.
        steps: number of recorded training batches, after two unrecorded ones.
        row_limit: number of operators in the table, the costliest first.
    """

    def __init__(self, dirpath: str, steps: int = 3, row_limit: int = 30) -> None:
        super().__init__(
            dirpath=dirpath,
            filename="operators",
            row_limit=row_limit,
            schedule=torch.profiler.schedule(wait=WAIT, warmup=WARM_UP, active=steps, repeat=1),
            on_trace_ready=self._write_trace,
        )
        self._training = False

    def setup(self, stage: str, local_rank: int | None = None, log_dir: str | None = None) -> None:
        """Set the profiler up; only the stage ``fit`` is recorded."""
        super().setup(stage, local_rank, log_dir)
        self._training = stage == "fit"

    def start(self, action_name: str) -> None:
        """Start to record an action, in training only."""
        if self._training:
            super().start(action_name)

    def stop(self, action_name: str) -> None:
        """Stop recording an action, in training only."""
        if self._training:
            super().stop(action_name)

    def describe(self) -> None:
        """Write the operator table, in training only."""
        if self._training:
            super().describe()

    def teardown(self, stage: str | None) -> None:
        """Close the profiler."""
        super().teardown(stage)
        self._training = False  # Lightning names the next stage only after its start

    def _cache_functions_events(self) -> None:
        assert isinstance(self.profiler, torch.profiler.profile)
        if self.profiler.profiler is not None:  # None before the first recorded step: there are no events
            super()._cache_functions_events()

    def _write_trace(self, profiler: Any) -> None:
        folder = Path(self.dirpath or ".")
        folder.mkdir(parents=True, exist_ok=True)
        rank = f"-{self._local_rank}" if self._local_rank else ""
        profiler.export_chrome_trace(str(folder / f"trace{rank}.json"))


def profile_folders(profiler: Profiler) -> list[tuple[str, str]]:
    """The name and folder of a profiler's files, in a list; empty if it writes no files."""
    writes = isinstance(profiler, PyTorchProfiler) or profiler.filename is not None
    return [("profile", str(profiler.dirpath))] if writes and profiler.dirpath is not None else []
