"""The record of a fit: ``history.jsonl`` in the run folder, the source of ``live.html``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypernoise_pl.system.files import write_text

HISTORY = "history.jsonl"

TRAIN, VALIDATION, TEST = "train", "validation", "test"


@dataclass
class History:
    """Rows of ``history.jsonl``: ``split`` (train, validation, test), ``step``, ``figures`` and further entries.

    Each row is appended at once; a killed run keeps all of them.

    Args:
        folder: run folder.
    """

    folder: Path
    rows: list[dict[str, Any]] = field(default_factory=list, init=False)

    @property
    def file(self) -> Path:
        """Path of ``history.jsonl``."""
        return self.folder / HISTORY

    def begin(self, step: int) -> None:
        """Keep the rows up to a step, without those of tests: a test belongs to a run that had ended.

        Args:
            step: optimiser steps done; 0 for a new run.
        """
        kept: dict[tuple[str, int], dict[str, Any]] = {}
        for line in self.file.read_text(encoding="utf-8").splitlines() if self.file.exists() else ():
            row = _row(line)
            if row is not None and row["split"] != TEST and 0 < row["step"] <= step:
                kept[row["split"], row["step"]] = row
        self.rows = sorted(kept.values(), key=lambda row: row["step"])
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.file, "".join(map(_line, self.rows)))

    def add(self, split: str, step: int, figures: Mapping[str, float], **more: Any) -> None:
        """Append a row, or replace the row of the same split and step: a resumed run may repeat a validation."""
        known = {name: value if math.isfinite(value) else None for name, value in figures.items()}
        row = {"split": split, "step": step, "figures": known} | more
        kept = [other for other in self.rows if (other["split"], other["step"]) != (split, step)]
        if len(kept) < len(self.rows):
            self.rows = [*kept, row]
            write_text(self.file, "".join(map(_line, self.rows)))
            return
        self.rows.append(row)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(_line(row))

    def of(self, split: str) -> list[dict[str, Any]]:
        """The rows of a split, by step."""
        return [row for row in self.rows if row["split"] == split]

    def curve(self, split: str, name: str) -> list[tuple[int, float]]:
        """Step and value of a figure, without missing values."""
        rows = self.of(split)
        return [(row["step"], row["figures"][name]) for row in rows if row["figures"].get(name) is not None]

    def names(self, split: str, prefix: str) -> list[str]:
        """Names of a split's figures that begin with a prefix, without it, in the order of logging."""
        names = dict.fromkeys(name for row in self.of(split) for name in row["figures"] if name.startswith(prefix))
        return [name.removeprefix(prefix) for name in names]


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row) + "\n"


def _row(line: str) -> dict[str, Any] | None:
    """The row of a line; None for a truncated line."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and {"split", "step", "figures"} <= row.keys() else None
