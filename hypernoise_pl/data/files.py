"""One file of prompts, of any kind that we read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hypernoise_pl.data.source import PromptSource
from hypernoise_pl.data.tables import check_parquet, read_csv, read_parquet
from hypernoise_pl.data.text import read_prompts
from hypernoise_pl.types import Prompt

_READ = (".txt", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")


@dataclass(frozen=True)
class PromptFile(PromptSource):
    """A file of prompts, read by its ending.

    ``.txt`` has a prompt a line (ABC-6K); ``.jsonl`` an object with ``prompt`` a line; ``.json`` a list, or an object
    whose values are the prompts (Pick-a-Pic as the Noise Hypernetworks code has it); ``.csv``, ``.tsv`` and
    ``.parquet`` have them in a column.

    Args:
        path: of the file, from the data module's ``folder`` on if it is not absolute.
        column: of the prompts, in a table.
        tag: column of the prompts' kinds, in a table; None if there is none.
    """

    path: str
    column: str = "prompt"
    tag: str | None = None

    def read(self, folder: Path) -> list[Prompt]:
        """Its prompts, in the file's order."""
        file = self._file(folder)
        if file.suffix == ".parquet":
            return read_parquet(file, self.column, self.tag)
        if file.suffix in (".csv", ".tsv"):
            return read_csv(file, self.column, self.tag)
        return read_prompts(file)

    def check(self, folder: Path) -> None:
        """Read what is soon read: the whole of a text, the footer of a Parquet file."""
        file = self._file(folder)
        if file.suffix == ".parquet":
            check_parquet(file, self.column, self.tag)
        else:
            self.read(folder)

    def _file(self, folder: Path) -> Path:
        file = folder / self.path
        if file.suffix not in _READ:
            raise ValueError(f"prompt file {file}: the ending must be one of {', '.join(_READ)}")
        return file
