"""The run folder of a command, the same for all processes of the run."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from hypernoise_pl.distributed.launched import new_shared_run
from hypernoise_pl.system.files import remove_if_empty

OUTPUT_VARIABLE = "HYPERNOISE_OUTPUT"  # names the run folder to the processes that a run starts


def is_first_process() -> bool:
    """Whether this process chooses the run folder of its run."""
    return OUTPUT_VARIABLE not in os.environ and os.environ.get("RANK", "0") == "0"


def named_folder(output: Path | None) -> Path | None:
    """The run folder that the user, or the process that started this one, names; None if neither does."""
    if output is not None:
        return output
    return Path(os.environ[OUTPUT_VARIABLE]) if OUTPUT_VARIABLE in os.environ else None


class RunFolder:
    """A run folder in use; while it is, ``OUTPUT_VARIABLE`` names it to the processes that the run starts.

    A context manager: at its end a folder that was made for this run is removed if it is empty, and that of a trial is
    removed with its contents.

    Args:
        kind: folder under ``runs/`` in which a new run folder is made.
        output: folder that the user names; None for a new one.
        trial: whether nothing of the run is kept (``fast_dev_run``).

    Attributes:
        path: the folder.
        named: whether the user, or the process that started this one, chose the folder.
        trial: whether nothing of the run is kept.

    Raises:
        ConfigError: if several processes cannot agree on a new folder.
    """

    def __init__(self, kind: str, output: Path | None = None, trial: bool = False) -> None:
        self.named = named_folder(output) is not None
        self._scratch: TemporaryDirectory[str] | None = None
        self._made: Path | None = None
        self._sets_variable, first = OUTPUT_VARIABLE not in os.environ, is_first_process()
        if not self._sets_variable:
            self.path = Path(os.environ[OUTPUT_VARIABLE])
        elif trial:
            self._scratch = TemporaryDirectory()
            self.path = Path(self._scratch.name)
        elif output is not None:
            self.path = output
        else:
            self.path = new_shared_run(kind)
            self._made = self.path if first else None
        self.trial = self._scratch is not None
        os.environ[OUTPUT_VARIABLE] = str(self.path)

    def switch_to(self, path: Path) -> None:
        """Use the folder of an earlier run that this one completes."""
        self.path = path

    def forget(self) -> None:
        """Name the folder no longer to the processes that are started from here on."""
        if self._sets_variable:
            os.environ.pop(OUTPUT_VARIABLE, None)

    def remove_if_empty(self) -> None:
        """Remove a folder that was made for this run, if nothing is in it."""
        if self._made is not None:
            remove_if_empty(self._made)

    def close(self) -> None:
        """End the use of the folder."""
        self.forget()
        self.remove_if_empty()
        if self._scratch is not None:
            self._scratch.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
