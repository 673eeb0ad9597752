"""The reader of prompt files for training, benchmarks and ``predict``."""

from __future__ import annotations

from pathlib import Path

from hypernoise_pl.data.columns import Columns
from hypernoise_pl.data.json_yaml import parse_json, parse_jsonl, parse_yaml
from hypernoise_pl.data.lines import parse_lines
from hypernoise_pl.data.tables import check_parquet, parse_csv, read_parquet
from hypernoise_pl.data.text_file import file_format, read_text
from hypernoise_pl.types import Prompt


def read_prompts(file: Path, column: str | None = None, tag: str | None = None) -> list[Prompt]:
    """Read a prompt file in the format of its suffix, in any letter case; all formats but Parquet may end in ``.gz``.

    - ``.txt``, or no suffix: one prompt per line.
    - ``.csv``, ``.tsv``: a table with a header; ``.parquet``: a table.
    - ``.jsonl``, ``.ndjson``: one object per line.
    - ``.json``, ``.yaml``: a list of texts or objects; or a mapping whose values are prompts, lists of prompts by tag,
      or columns.

    Args:
        file: prompt file.
        column: column of a table, or key of an object, with the prompt; None for ``prompt``, ``caption`` or ``text``.
        tag: column or key of the tag; None for ``tag`` or ``category``, if the file has one.

    Returns:
        Prompts in the order of the file, with their tags; their metadata are an object's other keys, or the ``id`` of
        a table's row.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is a folder, empty, binary, not UTF-8, damaged or in another format than its suffix; with the
            line number.
    """
    name, columns = file_format(file), Columns(column, tag)
    if name == "parquet":
        return read_parquet(file, columns)
    text = read_text(file)
    if name == "lines":
        return parse_lines(text, file)
    if name in ("csv", "tsv"):
        return parse_csv(text, file, columns, "\t" if name == "tsv" else ",")
    return {"json": parse_json, "jsonl": parse_jsonl, "yaml": parse_yaml}[name](text, file, columns)


def check_prompt_file(file: Path, column: str | None = None, tag: str | None = None) -> None:
    """Raise the errors of ``read_prompts``; only the footer of a Parquet file is read."""
    if file_format(file) == "parquet":
        check_parquet(file, Columns(column, tag))
    else:
        read_prompts(file, column, tag)
