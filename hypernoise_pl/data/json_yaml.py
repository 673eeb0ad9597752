"""Parsers of JSON, JSONL and YAML prompt files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from hypernoise_pl.data.columns import PROMPT, TAG, Columns, clean_tag, find_name
from hypernoise_pl.types import Prompt, did_you_mean


def parse_jsonl(text: str, file: Path, columns: Columns) -> list[Prompt]:
    """Parse one object per line; empty lines are skipped.

    Raises:
        ValueError: if a line is not JSON or not an object with a prompt; with the line number.
    """
    prompts: list[Prompt] = []
    # not splitlines(), which also splits at U+2028 and similar characters that a JSON string may contain
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            where = f"prompt file {file}, line {number}"
            try:
                fields = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{where}: not JSON: {error.msg} at column {error.colno}") from error
            columns = _with_prompt_key(columns, fields) if not prompts else columns
            prompts.append(_prompt(fields, where, len(prompts), columns))
    return prompts


def parse_json(text: str, file: Path, columns: Columns) -> list[Prompt]:
    """Parse a list or mapping; a file with one object per line is parsed as JSONL.

    Raises:
        ValueError: if the text is not JSON, or an item is no prompt; with the line or item number.
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        lines = [line for line in text.split("\n") if line.strip()]
        if len(lines) > 1 and _is_object(lines[0]) and _is_object(lines[1]):
            return parse_jsonl(text, file, columns)
        raise ValueError(f"prompt file {file}, line {error.lineno}: not JSON: {error.msg}") from error
    return _prompts(data, file, columns)


def parse_yaml(text: str, file: Path, columns: Columns) -> list[Prompt]:
    """Parse a list or mapping.

    Raises:
        ValueError: if the text is not YAML, or an item is no prompt; with the line or item number.
    """
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        raise ValueError(f"prompt file {file}{line}: not YAML: {getattr(error, 'problem', None) or error}") from error
    return _prompts(data, file, columns)


def _prompts(data: Any, file: Path, columns: Columns) -> list[Prompt]:
    rows = [*_rows(data, columns)]
    if not rows:
        raise ValueError(f"prompt file {file}: needs a list of prompts, or a mapping of them")
    columns = _with_prompt_key(columns, rows[0][0])
    return [
        _prompt(row, f"prompt file {file}, item {number}", number - 1, columns, tag)
        for number, (row, tag) in enumerate(rows, 1)
    ]


def _rows(data: Any, columns: Columns) -> Iterator[tuple[Any, str]]:
    """Rows (a text or a mapping each) with the key that lists them.

    A list contains rows. A mapping is one row; or columns, lists of equal length; or names with one row each; or tags
    with a list of rows each.
    """
    if isinstance(data, list):
        yield from ((row, "") for row in data)
    if not isinstance(data, dict):
        return
    named = [key for key in data if key in (columns.prompt, *PROMPT)]
    if named and isinstance(data[named[0]], str):
        yield data, ""
    elif named and isinstance(data[named[0]], list):
        lists = {key: value for key, value in data.items() if isinstance(value, list)}
        whole = len({len(value) for value in lists.values()}) == 1
        for place in range(len(data[named[0]])):
            yield {key: value[place] for key, value in lists.items()} if whole else None, ""
    else:
        for key, value in data.items():
            if isinstance(value, list):
                yield from ((row, "" if str(key).lower() in ("prompts", "captions", "texts") else key) for row in value)
            else:
                yield value, ""


def _prompt(fields: Any, where: str, index: int, columns: Columns, listed_under: str = "") -> Prompt:
    if isinstance(fields, str) and fields.strip() and not where.rpartition(", ")[2].startswith("line"):
        return Prompt(fields.strip(), clean_tag(listed_under), index=index)
    names = [*map(str, fields)] if isinstance(fields, dict) else []
    name = columns.prompt or find_name(PROMPT, names) or PROMPT[0]
    text = fields.get(name) if isinstance(fields, dict) else None
    if not isinstance(text, str) or not text.strip():
        hint = f", got {text!r}" if name in names else did_you_mean(name, names)
        raise ValueError(f'{where}: needs an object with a text "{name}"{hint}')
    tag = columns.tag or find_name(TAG, names)
    metadata = {key: value for key, value in fields.items() if key not in (name, tag)}
    return Prompt(text.strip(), clean_tag(fields.get(tag)) or clean_tag(listed_under), metadata, index)


def _with_prompt_key(columns: Columns, row: Any) -> Columns:
    """Columns with the prompt key of the first row, which holds for all rows."""
    names = [*map(str, row)] if isinstance(row, dict) else []
    return replace(columns, prompt=columns.prompt or find_name(PROMPT, names))


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
