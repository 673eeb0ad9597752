"""A file of prompts as a prompt source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hypernoise_pl.data.prompt_reader import check_prompt_file, read_prompts
from hypernoise_pl.data.source import PromptSource
from hypernoise_pl.types import Prompt


@dataclass(frozen=True)
class PromptFile(PromptSource):
    """A file of prompts in the format of its suffix.

    ``.txt``: one prompt per line (ABC-6K). ``.jsonl``: one object with ``prompt`` per line. ``.json``, ``.yaml``: a
    list, or a mapping whose values are the prompts (Pick-a-Pic in the Noise Hypernetworks code). ``.csv``, ``.tsv``,
    ``.parquet``: a column of a table. All but ``.parquet`` may be followed by ``.gz``.

    Args:
        path: file; a relative path starts at the data module's ``folder``.
        column: column of the prompts in a table, or their key in an object; None for ``prompt``, ``caption`` or
            ``text``.
        tag: column or key of the tags; None for ``tag`` or ``category``, if the file has one.
    """

    path: str
    column: str | None = None
    tag: str | None = None

    def read(self, folder: Path) -> list[Prompt]:
        """Prompts in the order of the file."""
        return read_prompts(folder / self.path, self.column, self.tag)

    def check(self, folder: Path) -> None:
        """Read the file, or only the footer of a Parquet file."""
        check_prompt_file(folder / self.path, self.column, self.tag)
