"""A column of a Hugging Face data set as a prompt source."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypernoise_pl.checkpoints.loading import load_with
from hypernoise_pl.data.columns import Columns, clean_tag
from hypernoise_pl.data.source import PromptSource
from hypernoise_pl.progress import phase
from hypernoise_pl.types import Prompt, did_you_mean


@dataclass(frozen=True)
class HubDataset(PromptSource):
    """A column of a Hugging Face data set, loaded with the ``datasets`` package on first use.

    Args:
        dataset: hub id, or a folder for ``datasets``.
        column: column of the prompts (Pick-a-Pic: ``caption``); None for the default names of prompt and tag columns.
        split: split of the data set.
        name: configuration of the data set, if it has several.
        revision: branch, tag or commit of a hub id.
        streaming: read rows over the network without storing them, for sets that contain images; otherwise the complete
            set is downloaded once.
        tag: column of the tags; None for no tags if ``column`` is given.
    """

    dataset: str
    column: str | None = "prompt"
    split: str = "train"
    name: str | None = None
    revision: str | None = None
    streaming: bool = False
    tag: str | None = None

    def read(self, folder: Path) -> list[Prompt]:
        """Distinct prompts in the order of their first rows; preference sets repeat prompts many times."""
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
        """Columns of prompts and tags."""
        if self.column is None:
            return Columns(None, self.tag).among(names, where)[:2]
        for column in (self.column, self.tag):
            if names and column is not None and column not in names:
                hint = did_you_mean(column, names)
                raise ValueError(f"{where}: no column is called {column!r}{hint}; it has {', '.join(names)}")
        return self.column, self.tag

    def check(self, folder: Path) -> None:
        """Check that the package ``datasets`` is installed."""
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
