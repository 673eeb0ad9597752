"""Parsers of CSV, TSV and Parquet prompt files."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from hypernoise_pl.data.columns import NUMBER, Columns, clean_tag
from hypernoise_pl.types import Prompt


def parse_csv(text: str, file: Path, columns: Columns, delimiter: str = ",") -> list[Prompt]:
    """Parse a table with a header: prompts, tags and ids.

    Args:
        text: text of the file.
        file: file, for messages.
        columns: columns of prompts and tags.
        delimiter: delimiter of columns; replaced by semicolon or tab if the header contains only those.

    Raises:
        ValueError: if a column is missing, or a row is empty, too long or malformed; with the line number.
    """
    header = text.lstrip("\n").partition("\n")[0]
    if delimiter not in header:
        delimiter = next((other for other in ";\t" if other in header), delimiter)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    where = f"prompt file {file}"
    prompts: list[Prompt] = []
    try:
        names = next([name.strip() for name in row] for row in rows if row)
        found = columns.among(names, where)
        prompt, tag, number = (None if name is None else names.index(name) for name in found)
        assert prompt is not None
        for row in rows:
            if not row:
                continue
            line = f"{where}, line {rows.line_num}"
            if len(row) > len(names):
                raise ValueError(
                    f"{line}: {len(row)} columns, the header has {len(names)}; put a prompt that holds "
                    f"{delimiter!r} in double quotes"
                )
            row += [""] * (len(names) - len(row))
            if not row[prompt].strip():
                raise ValueError(f"{line}: nothing in column {names[prompt]!r}")
            known = {} if number is None else {NUMBER: row[number]}
            prompts.append(Prompt(row[prompt].strip(), "" if tag is None else row[tag].strip(), known, len(prompts)))
    except csv.Error as error:
        raise ValueError(f"{where}, line {rows.line_num}: not CSV: {error}") from error
    if not prompts:
        raise ValueError(f"{where}: empty; it needs a prompt a row")
    return prompts


def read_parquet(file: Path, columns: Columns) -> list[Prompt]:
    """Read prompts, tags and ids of a Parquet file; other columns, such as images, are not read.

    Raises:
        ValueError: if the file is damaged, lacks a column or has a row without text, or pyarrow is not installed.
    """
    table, (column, tag, number) = _open(file, columns)
    prompts: list[Prompt] = []
    for batch in table.iter_batches(batch_size=8192, columns=[name for name in (column, tag, number) if name]):
        for row in batch.to_pylist():
            text = row[column]
            if not isinstance(text, str) or not text.strip():
                place = len(prompts) + 1
                raise ValueError(f"prompt file {file}, row {place}: no text in column {column!r}, but {text!r}")
            known = {} if number is None else {NUMBER: row[number]}
            prompts.append(Prompt(text.strip(), clean_tag(row[tag]) if tag else "", known, len(prompts)))
    if not prompts:
        raise ValueError(f"prompt file {file}: empty; it needs a prompt a row")
    return prompts


def check_parquet(file: Path, columns: Columns) -> None:
    """Check the footer; raises the errors of ``read_parquet`` about it."""
    _open(file, columns)


def _open(file: Path, columns: Columns) -> tuple[Any, tuple[str, str | None, str | None]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ValueError(f"prompt file {file}: Parquet needs pyarrow; pip install 'hypernoise_pl[compare]'") from None
    try:
        table = pyarrow.parquet.ParquetFile(file)
    except pyarrow.ArrowException as error:
        raise ValueError(f"prompt file {file}: not Parquet: {str(error).splitlines()[0]}") from error
    return table, columns.among(table.schema_arrow.names, f"prompt file {file}")
