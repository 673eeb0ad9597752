"""GenEval's 553 prompts with the clauses that its judge reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypernoise_pl.data.prompt_reader import read_prompts
from hypernoise_pl.data.source import PromptSource
from hypernoise_pl.types import Prompt, did_you_mean

TAGS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")


@dataclass(frozen=True)
class GenEvalFile(PromptSource):
    """GenEval's ``evaluation_metadata.jsonl``: ``tag``, ``include``, ``exclude`` and ``prompt`` per line.

    A prompt's index is its line number from 0, which names the folder of its images in GenEval's layout (``00000``).

    Args:
        path: file; a relative path starts at the data module's ``folder``.

    Source: Ghosh et al. 2023 (GenEval, arXiv 2310.11513).
    """

    path: str = "geneval/evaluation_metadata.jsonl"

    def read(self, folder: Path) -> list[Prompt]:
        """Prompts with their clauses as metadata."""
        file = folder / self.path
        prompts = read_prompts(file)
        for number, prompt in enumerate(prompts, 1):
            _check(prompt, f"GenEval file {file}, prompt {number}")
        return prompts

    def check(self, folder: Path) -> None:
        """Read the file, which is small."""
        self.read(folder)


def _check(prompt: Prompt, where: str) -> None:
    if prompt.tag not in TAGS:
        raise ValueError(f"{where}: unknown tag {prompt.tag!r}{did_you_mean(prompt.tag, TAGS)}")
    for name in ("include", "exclude"):
        clauses = prompt.metadata.get(name, [] if name == "exclude" else None)
        if not isinstance(clauses, list) or (name == "include" and not clauses):
            raise ValueError(f"{where}: {name!r} must be a list of clauses")
        for place, clause in enumerate(clauses):
            _check_clause(clause, f"{where}: {name}", place)


def _check_clause(clause: Any, where: str, place: int) -> None:
    if not isinstance(clause, Mapping) or not isinstance(clause.get("class"), str):
        raise ValueError(f"{where}: a clause needs the name of a class, got {clause!r}")
    count = clause.get("count")
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"{where}: a clause needs a count of at least 1, got {count!r}")
    position = clause.get("position")
    if position is None:
        return
    fits = isinstance(position, list) and len(position) == 2 and isinstance(position[1], int)
    if not fits or not 0 <= position[1] < place:
        raise ValueError(f"{where}: a position is [relation, index of an earlier clause], got {position!r}")
