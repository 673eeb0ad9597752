"""Prompts from files: text, one a line; JSONL; or a JSON list."""

from __future__ import annotations

import json
from pathlib import Path

from hypernoise_pl.data.base import PromptDataModule, Split
from hypernoise_pl.types import Prompt


class TextPrompts(PromptDataModule):
    """Prompts from files.

    Args:
        train: file with a prompt a line, or ``.jsonl`` with ``prompt`` and, if there are, ``tag`` and a judge's clauses
            (GenEval's ``include`` and ``exclude``).
        validation: the same; the training file if left out.
        test: the same; the validation file if left out.
        batch_size: prompts per process and step.
        eval_batch_size: prompts per process at validation and test.
        seed: of the training order.
    """

    def __init__(
        self,
        train: str,
        validation: str | None = None,
        test: str | None = None,
        batch_size: int = 64,
        eval_batch_size: int = 32,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, seed)
        validation = validation or train
        self.files: dict[Split, Path] = {
            "train": Path(train),
            "validation": Path(validation),
            "test": Path(test or validation),
        }
        for file in set(self.files.values()):
            read_prompts(file)  # a bad file is told of before any model is loaded

    def prompts(self, split: Split) -> list[Prompt]:
        """The prompts of a split's file, in its order."""
        return read_prompts(self.files[split])


def read_prompts(file: Path) -> list[Prompt]:
    """Read a prompt file; empty lines are passed over.

    Raises:
        FileNotFoundError: if it does not exist.
        ValueError: if it is empty, binary, not UTF-8, or a JSONL line is no object with a ``prompt``; with the line.
    """
    text = read_text(file)
    if file.suffix == ".json":
        return _listed(text, file)
    lines = text.split("\n")  # not splitlines(), which also cuts at U+2028 and the like, that a JSON string may hold
    jsonl = file.suffix in (".jsonl", ".ndjson")
    prompts: list[Prompt] = []
    for number, text in enumerate(lines, 1):
        if text.strip():
            index = len(prompts)
            prompts.append(_parse(text, f"prompt file {file}, line {number}", index) if jsonl else _plain(text, index))
    if not prompts:
        raise ValueError(f"prompt file {file}: empty; it needs a prompt a line")
    return prompts


def read_text(file: Path) -> str:
    """The text of a file.

    Raises:
        FileNotFoundError: if it does not exist.
        ValueError: if it is binary or not UTF-8; with the line.
    """
    if not file.is_file():
        raise FileNotFoundError(f"prompt file {file}: no such file")
    data = file.read_bytes()
    if b"\x00" in data:
        raise ValueError(f"prompt file {file}: binary, not text")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(f"prompt file {file}, line {line}: not UTF-8; save it as UTF-8") from error


def _listed(text: str, file: Path) -> list[Prompt]:
    """Prompts of a JSON list, or of an object whose values they are; each a text, or an object with a ``prompt``."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"prompt file {file}, line {error.lineno}: not JSON: {error.msg}") from error
    rows = list(found.values()) if isinstance(found, dict) else found
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"prompt file {file}: needs a list of prompts, or an object of them")
    return [_prompt(row, f"prompt file {file}, item {number}", number - 1) for number, row in enumerate(rows, 1)]


def _plain(line: str, index: int) -> Prompt:
    return Prompt(line.strip(), index=index)


def _parse(line: str, where: str, index: int) -> Prompt:
    try:
        fields = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON: {error.msg} at column {error.colno}") from error
    return _prompt(fields, where, index)


def _prompt(fields: object, where: str, index: int) -> Prompt:
    if isinstance(fields, str) and fields.strip():
        return Prompt(fields.strip(), index=index)
    if not isinstance(fields, dict) or not isinstance(fields.get("prompt"), str) or not fields["prompt"].strip():
        raise ValueError(f'{where}: needs an object with a text "prompt"')
    metadata = {key: value for key, value in fields.items() if key not in ("prompt", "tag")}
    return Prompt(fields["prompt"], str(fields.get("tag") or ""), metadata, index)
