"""A column of a data set of the Hugging Face hub."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypernoise_pl.data.source import PromptSource
from hypernoise_pl.pretrained import load_with
from hypernoise_pl.progress import phase
from hypernoise_pl.types import Prompt, nearest


@dataclass(frozen=True)
class HubDataset(PromptSource):
    """A column of a data set of the hub, read through the ``datasets`` package when prompts are first needed.

    Args:
        dataset: hub id, or a folder as ``datasets`` reads it.
        column: of the prompts (Pick-a-Pic: ``caption``).
        split: which split of it.
        name: which configuration of it, where it has several.
        revision: of a hub id.
        streaming: read over the network row by row, keeping nothing: for sets with images in them. Without it the whole
            set is fetched once and kept.
    """

    dataset: str
    column: str = "prompt"
    split: str = "train"
    name: str | None = None
    revision: str | None = None
    streaming: bool = False

    def read(self, folder: Path) -> list[Prompt]:
        """Its prompts, each once, in the order of their first rows (a set of comparisons repeats them many times)."""
        self.check(folder)
        where = f"data set {self.dataset}"
        with phase(f"data: fetching {self.dataset}"):
            rows = load_with(self._load, self.dataset, "data set")
        names = list(rows.column_names or [])
        if names and self.column not in names:
            hint = nearest(self.column, names)
            raise ValueError(f"{where}: no column is called {self.column!r}{hint}; it has {', '.join(names)}")
        texts: dict[str, None] = {}
        for number, row in enumerate(rows.select_columns([self.column]), 1):
            text = row[self.column]
            if not isinstance(text, str):
                raise ValueError(f"{where}, row {number}: no text in column {self.column!r}, but {text!r}")
            if text.strip():
                texts[text.strip()] = None
        if not texts:
            raise ValueError(f"{where}: column {self.column!r} of split {self.split!r} is empty")
        return [Prompt(text, index=index) for index, text in enumerate(texts)]

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
