"""A column of a data set of the Hugging Face hub."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypernoise_pl.checkpoints.loading import load_with
from hypernoise_pl.data.columns import Columns, clean_tag
from hypernoise_pl.data.source import PromptSource
from hypernoise_pl.progress import phase
from hypernoise_pl.types import Prompt, nearest


@dataclass(frozen=True)
class HubDataset(PromptSource):
    """A column of a data set of the hub, read through the ``datasets`` package when prompts are first needed.

    Args:
        dataset: hub id, or a folder as ``datasets`` reads it.
        column: of the prompts (Pick-a-Pic: ``caption``); None to look for them, and for tags, as in a table.
        split: which split of it.
        name: which configuration of it, where it has several.
        revision: of a hub id.
        streaming: read over the network row by row, keeping nothing: for sets with images in them. Without it the whole
            set is fetched once and kept.
        tag: column of the prompts' tags; None for no tags where ``column`` is given.
    """

    dataset: str
    column: str | None = "prompt"
    split: str = "train"
    name: str | None = None
    revision: str | None = None
    streaming: bool = False
    tag: str | None = None

    def read(self, folder: Path) -> list[Prompt]:
        """Its prompts, each once, in the order of their first rows (a set of comparisons repeats them many times)."""
        self.check(folder)
        where = f"data set {self.dataset}"
        with phase(f"data: fetching {self.dataset}"):
            rows = load_with(self._load, self.dataset, "data set")
        column, tag = self._columns(list(rows.column_names or []), where)
        tags: dict[str, str] = {}
        for number, row in enumerate(rows.select_columns([column] if tag is None else [column, tag]), 1):
            text = row[column]
            if not isinstance(text, str):
                raise ValueError(f"{where}, row {number}: no text in column {column!r}, but {text!r}")
            if text.strip():
                tags.setdefault(text.strip(), "" if tag is None else clean_tag(row[tag]))
        if not tags:
            raise ValueError(f"{where}: column {column!r} of split {self.split!r} is empty")
        return [Prompt(text, own, index=index) for index, (text, own) in enumerate(tags.items())]

    def _columns(self, names: list[str], where: str) -> tuple[str, str | None]:
        """The columns of prompts and tags."""
        if self.column is None:
            return Columns(None, self.tag).among(names, where)[:2]
        for column in (self.column, self.tag):
            if names and column is not None and column not in names:
                hint = nearest(column, names)
                raise ValueError(f"{where}: no column is called {column!r}{hint}; it has {', '.join(names)}")
        return self.column, self.tag

    def check(self, folder: Path) -> None:
        """Check that what it needs is installed."""
        if importlib.util.find_spec("datasets") is None:
            raise ValueError(
                f"data set {self.dataset}: needs the package datasets (pip install datasets), or its prompts in a file"
            )

    def _load(self) -> Any:
        import datasets

        datasets.disable_progress_bars()
        return datasets.load_dataset(
            self.dataset, self.name, split=self.split, revision=self.revision, streaming=self.streaming
        )
