"""A fit's figures in its run folder, a line each: what the page of a run is made from, with or without a logger."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypernoise_pl.system.files import write

HISTORY = "history.jsonl"

TRAIN, VALIDATION, TEST = "train", "validation", "test"


@dataclass
class History:
    """Rows of ``history.jsonl``: ``kind`` (train, validation, test), ``step``, ``figures`` and what else is known.

    A row is appended as it is made, so that a run that is killed keeps every row but the one under way.

    Args:
        folder: run folder.
    """

    folder: Path
    rows: list[dict[str, Any]] = field(default_factory=list, init=False)

    @property
    def file(self) -> Path:
        """The file."""
        return self.folder / HISTORY

    def begin(self, step: int) -> None:
        """Keep the rows up to the step that a run goes on from; a test belongs to a run that had ended, and goes too.

        Args:
            step: optimiser steps done; 0 for a new run.
        """
        found: dict[tuple[str, int], dict[str, Any]] = {}
        for line in self.file.read_text(encoding="utf-8").splitlines() if self.file.exists() else ():
            row = _row(line)
            if row is not None and row["kind"] != TEST and 0 < row["step"] <= step:
                found[row["kind"], row["step"]] = row
        self.rows = sorted(found.values(), key=lambda row: row["step"])
        self.folder.mkdir(parents=True, exist_ok=True)
        write(self.file, "".join(map(_line, self.rows)))

    def add(self, kind: str, step: int, figures: Mapping[str, float], **more: Any) -> None:
        """Append a row; one of the same kind and step is replaced, as of a validation that a resumed run repeats."""
        known = {name: value if math.isfinite(value) else None for name, value in figures.items()}
        row = {"kind": kind, "step": step, "figures": known} | more
        kept = [each for each in self.rows if (each["kind"], each["step"]) != (kind, step)]
        if len(kept) < len(self.rows):
            self.rows = [*kept, row]
            write(self.file, "".join(map(_line, self.rows)))
            return
        self.rows.append(row)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(_line(row))

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The rows of a kind, by step."""
        return [row for row in self.rows if row["kind"] == kind]

    def curve(self, kind: str, name: str) -> list[tuple[int, float]]:
        """Step and value of a figure, where it has one."""
        rows = self.of(kind)
        return [(row["step"], row["figures"][name]) for row in rows if row["figures"].get(name) is not None]

    def names(self, kind: str, prefix: str) -> list[str]:
        """What follows a prefix in the names of a kind's figures, in the order in which they were logged."""
        every = dict.fromkeys(name for row in self.of(kind) for name in row["figures"] if name.startswith(prefix))
        return [name.removeprefix(prefix) for name in every]


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row) + "\n"


def _row(line: str) -> dict[str, Any] | None:
    """A row; None of a line that was cut when the machine went down."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and {"kind", "step", "figures"} <= row.keys() else None
