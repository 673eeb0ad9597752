"""Benchmark files row by row: JSONL and CSV, each row with its place for messages."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hypernoise_pl.data.text_file import read_text
from hypernoise_pl.types import did_you_mean


def json_lines(file: Path, what: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSONL file, each with its place: "GenEval 2 file x.jsonl, line 3". Empty lines are passed over.

    Args:
        file: the file.
        what: kind of file, for messages.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is empty, no text, or a line is no JSON object; with the line.
    """
    for number, line in enumerate(_text(file, what).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{what} {file}, line {number}"
        try:
            found = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{where}: not JSON: {error}") from error
        if not isinstance(found, dict):
            raise ValueError(f"{where}: it needs a JSON object a line, got {line.strip()[:60]!r}")
        yield where, found


def csv_rows(file: Path, what: str, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV file with a header, each with its place.

    Args:
        file: the file.
        what: kind of file, for messages.
        columns: those that it must have.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is empty, no CSV, lacks a column, or a row has more or fewer columns than the header; with the
            line.
    """
    reader = csv.reader(io.StringIO(_text(file, what), newline=""), strict=True)
    names: list[str] = []
    empty = True
    try:
        for row in reader:
            where = f"{what} {file}, line {reader.line_num}"
            if not names:
                names = [name.strip() for name in row]
                for column in columns:
                    if column not in names:
                        known = ", ".join(names)
                        raise ValueError(
                            f"{where}: no column is called {column!r}{did_you_mean(column, names)}; it has {known}"
                        )
            elif row and len(row) != len(names):
                raise ValueError(f"{where}: {len(row)} columns, the header has {len(names)}")
            elif row:
                empty = False
                yield where, dict(zip(names, row, strict=True))
    except csv.Error as error:
        raise ValueError(f"{what} {file}, line {reader.line_num}: not CSV: {error}") from error
    if empty:
        raise ValueError(f"{what} {file}: no row below the header")


def texts(where: str, found: dict[str, Any], key: str, empty: bool = False) -> list[str]:
    """A list of texts in a row.

    Args:
        where: the row's place.
        found: the row.
        key: name of the list.
        empty: whether a text may be empty; the list never may.

    Raises:
        ValueError: if it is none, or is empty.
    """
    values = found.get(key)
    fits = isinstance(values, list) and all(isinstance(value, str) and (empty or value.strip()) for value in values)
    if not values or not fits:
        raise ValueError(f"{where}: {key!r} must be a list of texts{_absent(found, key)}")
    return [value.strip() for value in values]


def text(where: str, found: dict[str, Any], key: str) -> str:
    """A text, not empty, in a row.

    Raises:
        ValueError: if it is none, or is empty.
    """
    value = found.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{where}: {key!r} must be a text{_absent(found, key)}")
    return value.strip()


def same_length(where: str, one: str, first: Sequence[Any], other: str, second: Sequence[Any]) -> None:
    """Raise ``ValueError`` unless two lists of a row have as many members."""
    if len(first) != len(second):
        raise ValueError(f"{where}: {len(first)} in {one!r}, {len(second)} in {other!r}; they belong together")


def _absent(found: dict[str, Any], key: str) -> str:
    return f", got {found[key]!r}" if key in found else f"; there is none{did_you_mean(key, found)}"


def _text(file: Path, what: str) -> str:
    if not file.is_file():
        raise FileNotFoundError(f"{what} {file}: {'a folder' if file.is_dir() else 'no such file'}")
    return read_text(file, what, "row")
