"""Parser of plain-text prompt files, which rejects texts in other formats."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

from hypernoise_pl.data.columns import PROMPT, TAG
from hypernoise_pl.types import Prompt


def parse_lines(text: str, file: Path) -> list[Prompt]:
    """Parse one prompt per line; empty lines are skipped.

    Raises:
        ValueError: if the text looks like a table, JSON, YAML or markup; with the line and the suffix to use.
    """
    lines = {number: line.strip() for number, line in enumerate(text.split("\n"), 1) if line.strip()}
    found = _other_format(text, lines)
    if found is not None:
        line, what, ending = found
        raise ValueError(
            f"prompt file {file}, line {line}: {what}, and a plain text has a prompt a line; name the file {ending}"
        )
    return [Prompt(line, index=index) for index, line in enumerate(lines.values())]


def _other_format(text: str, lines: dict[int, str]) -> tuple[int, str, str] | None:
    """Line number, format and suitable suffix of a text in another format; None for plain text.

    Prompts often contain commas, brackets and braces: a line counts only if it has the format completely.
    """
    first, opening = next(iter(lines.items()))
    if opening in ("[", "{") or (opening[0] in "[{" and _is_json(text)):
        return first, "JSON", ".jsonl" if len(lines) == 1 and opening[0] == "{" else ".json"
    for number, line in lines.items():
        if line[0] in "[{" and _is_json(line):
            return number, "JSON", ".jsonl"
    if opening.lower().startswith(("<?xml", "<!doctype", "<html")):
        return first, "markup", ".txt once its prompts stand alone"
    if all(re.match(r"- |\s|[\w-]+:$", line) for line in text.split("\n") if line) and re.match("- |.*:$", opening):
        return first, "YAML", ".yaml"
    if all(re.fullmatch(r"\|.*\|", line) for line in lines.values()):
        return first, "a Markdown table", ".csv once it is one"
    names = [name.strip(' "') for name in re.split(r"[,;\t]", opening.lower())]
    headings = {*PROMPT, *TAG, *(f"{name}s" for name in PROMPT)}
    if names[0] in headings if len(names) == 1 else headings & {*names} and all(map(_is_heading, names)):
        return first, "the header of a table", ".tsv" if "\t" in opening else ".csv"
    for delimiter, what, ending in (("\t", "columns with tabs between", ".tsv"), (",", "quoted columns", ".csv")):
        if all(_is_row(line, delimiter) for line in lines.values()):
            return first, what, f"{ending}, with a header that calls one of them 'prompt'"
    return None


def _is_json(text: str) -> bool:
    """Whether a text is a JSON object or list, ``[1]`` included."""
    try:
        return isinstance(json.loads(text), (dict, list))
    except ValueError:
        return False


def _is_heading(name: str) -> bool:
    return re.fullmatch(r"[\w.-]+( [\w.-]+)?", name) is not None or not name


def _is_row(line: str, delimiter: str) -> bool:
    """Whether a line is a row of several columns; with commas, columns must be quoted."""
    if delimiter == "\t":
        return "\t" in line
    try:
        (fields,) = csv.reader([line], strict=True)
    except (csv.Error, ValueError):
        return False
    return len(fields) > 1 and line.startswith('"') and '",' in line
