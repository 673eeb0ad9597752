"""One file of prompts, of any kind that we read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hypernoise_pl.data.prompt_reader import check_prompt_file, read_prompts
from hypernoise_pl.data.source import PromptSource
from hypernoise_pl.types import Prompt


@dataclass(frozen=True)
class PromptFile(PromptSource):
    """A file of prompts, read by its ending.

    ``.txt`` has a prompt a line (ABC-6K); ``.jsonl`` an object with ``prompt`` a line; ``.json`` and ``.yaml`` a list,
    or a mapping whose values are the prompts (Pick-a-Pic as the Noise Hypernetworks code has it); ``.csv``, ``.tsv``
    and ``.parquet`` have them in a column. ``.gz`` may follow each but the last.

    Args:
        path: file, from the data module's ``folder`` on if it is not absolute.
        column: column of the prompts in a table, or their key in an object; None for ``prompt``, ``caption`` or
            ``text``.
        tag: column or key of the prompts' tags; None for ``tag`` or ``category``, if there is one.
    """

    path: str
    column: str | None = None
    tag: str | None = None

    def read(self, folder: Path) -> list[Prompt]:
        """Its prompts, in the file's order."""
        return read_prompts(folder / self.path, self.column, self.tag)

    def check(self, folder: Path) -> None:
        """Read what is soon read: the whole of a text, the footer of a Parquet file."""
        check_prompt_file(folder / self.path, self.column, self.tag)
