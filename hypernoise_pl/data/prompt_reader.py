"""Read a file of prompts: the one place that does, for training, benchmarks and ``predict`` alike."""

from __future__ import annotations

from pathlib import Path

from hypernoise_pl.data.columns import Columns
from hypernoise_pl.data.json_yaml import parse_json, parse_jsonl, parse_yaml
from hypernoise_pl.data.lines import parse_lines
from hypernoise_pl.data.tables import check_parquet, parse_csv, read_parquet
from hypernoise_pl.data.text_file import file_format, read_text
from hypernoise_pl.types import Prompt


def read_prompts(file: Path, column: str | None = None, tag: str | None = None) -> list[Prompt]:
    """Read a file of prompts, by its ending in any letter case; a ``.gz`` may follow it.

    - ``.txt``, or no ending: a prompt a line.
    - ``.csv``, ``.tsv``: a table with a header; ``.parquet``: a table.
    - ``.jsonl``, ``.ndjson``: an object a line.
    - ``.json``, ``.yaml``: a list of texts or objects; or a mapping whose values are prompts, or lists of prompts by
      tag, or columns.

    Args:
        file: the file.
        column: column of a table, or key of an object, that holds the prompt; None for ``prompt``, ``caption`` or
            ``text``.
        tag: column or key that holds the tag; None for ``tag`` or ``category``, if there is one.

    Returns:
        The prompts in the file's order, with their tags; the other keys of an object, or the ``id`` of a table's row,
        as metadata.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is a folder, empty, binary, not UTF-8, damaged or of another format than its ending says; with
            the line.
    """
    kind, columns = file_format(file), Columns(column, tag)
    if kind == "parquet":
        return read_parquet(file, columns)
    text = read_text(file)
    if kind == "lines":
        return parse_lines(text, file)
    if kind in ("csv", "tsv"):
        return parse_csv(text, file, columns, "\t" if kind == "tsv" else ",")
    return {"json": parse_json, "jsonl": parse_jsonl, "yaml": parse_yaml}[kind](text, file, columns)


def check_prompt_file(file: Path, column: str | None = None, tag: str | None = None) -> None:
    """Raise what ``read_prompts`` would; of a Parquet file the footer alone is read."""
    if file_format(file) == "parquet":
        check_parquet(file, Columns(column, tag))
    else:
        read_prompts(file, column, tag)
