"""Prompts from tables: a column of a CSV, TSV or Parquet file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypernoise_pl.data.text import read_text
from hypernoise_pl.types import Prompt, nearest


def read_csv(file: Path, column: str, tag: str | None = None) -> list[Prompt]:
    """Read a column of a CSV file with a header (tabs between the columns where the file ends in ``.tsv``).

    Args:
        file: the file.
        column: of the prompts.
        tag: column of their kinds, if there is one.

    Raises:
        FileNotFoundError: if it does not exist.
        ValueError: if it is not text, lacks a column, or a row of it is empty or broken; with the line.
    """
    source = io.StringIO(read_text(file), newline="")
    rows = csv.DictReader(source, delimiter="\t" if file.suffix == ".tsv" else ",", strict=True)
    prompts: list[Prompt] = []
    try:
        _must_have(file, list(rows.fieldnames or []), column, tag)
        for row in rows:
            text = (row[column] or "").strip()
            if not text:
                raise ValueError(f"prompt file {file}, line {rows.line_num}: nothing in column {column!r}")
            prompts.append(Prompt(text, (row[tag] or "") if tag else "", index=len(prompts)))
    except csv.Error as error:
        raise ValueError(f"prompt file {file}, line {rows.reader.line_num}: not CSV: {error}") from error
    return _some(prompts, file)


def read_parquet(file: Path, column: str, tag: str | None = None) -> list[Prompt]:
    """Read a column of a Parquet file; of its other columns, images among them, nothing is read.

    Takes and raises what ``read_csv`` does; and ``ValueError`` if pyarrow is not installed.
    """
    prompts: list[Prompt] = []
    for number, (text, kind) in enumerate(_rows(file, column, tag), 1):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"prompt file {file}, row {number}: no text in column {column!r}, but {text!r}")
        prompts.append(Prompt(text.strip(), str(kind or ""), index=len(prompts)))
    return _some(prompts, file)


def check_parquet(file: Path, column: str, tag: str | None = None) -> None:
    """Read the footer alone; raises what ``read_parquet`` does for it."""
    _open(file, column, tag)


def _rows(file: Path, column: str, tag: str | None) -> Iterator[tuple[object, object]]:
    table = _open(file, column, tag)
    columns = [column, *([tag] if tag else [])]
    for batch in table.iter_batches(batch_size=8192, columns=columns):
        texts = batch.column(column).to_pylist()
        yield from zip(texts, batch.column(tag).to_pylist() if tag else [None] * len(texts))


def _open(file: Path, column: str, tag: str | None) -> Any:
    if not file.is_file():
        raise FileNotFoundError(f"prompt file {file}: no such file")
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ValueError(f"prompt file {file}: Parquet needs pyarrow; pip install 'hypernoise_pl[search]'") from None
    try:
        table = pyarrow.parquet.ParquetFile(file)
    except pyarrow.ArrowException as error:
        raise ValueError(f"prompt file {file}: not Parquet: {str(error).splitlines()[0]}") from error
    _must_have(file, table.schema_arrow.names, column, tag)
    return table


def _must_have(file: Path, names: list[str], column: str, tag: str | None) -> None:
    for name in (column, tag):
        if name is not None and name not in names:
            known = ", ".join(names) or "none"
            raise ValueError(f"prompt file {file}: no column is called {name!r}{nearest(name, names)}; it has {known}")


def _some(prompts: list[Prompt], file: Path) -> list[Prompt]:
    if not prompts:
        raise ValueError(f"prompt file {file}: empty; it needs a prompt a row")
    return prompts
