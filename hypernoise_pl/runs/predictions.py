"""Images that ``predict`` has written, and a row for each; both stay when the same command continues."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hypernoise_pl.config.identity import first_difference
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.system.files import read_settings, write_text

SETTINGS, ROWS, END = "settings.json", "predictions.jsonl", "grid.png"


class Predictions:
    """A folder of images, and ``predictions.jsonl`` with a row for each image; rows of one prompt are written together.

    Args:
        folder: run folder; it is made if it is missing.
        settings: settings that decide an image or its row, as JSON has them.

    Raises:
        ConfigError: if the folder holds images of other settings.
        ValueError: if its files are damaged.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder, self.rows = folder, list[dict[str, Any]]()
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / SETTINGS
        if file.exists():
            other = first_difference(read_settings(file), settings)
            if other is not None:
                raise ConfigError(f"--output {folder}: holds images of other settings: {other}; give another --output")
        elif (folder / ROWS).exists():
            raise ConfigError(f"--output {folder}: holds {ROWS}, but no {SETTINGS}; give another --output")
        else:
            write_text(file, json.dumps(settings, indent=1) + "\n")
        if (folder / ROWS).exists():
            self.rows = _whole_rows(folder / ROWS)
            self._rewrite()  # without a row that is cut short

    def of(self, number: int, count: int) -> list[dict[str, Any]] | None:
        """The rows of a prompt; rows that are incomplete, or whose image is missing, are dropped.

        Args:
            number: index of the prompt.
            count: rows that a complete prompt has.

        Returns:
            The rows; None if they are not complete.
        """
        rows = [row for row in self.rows if row["number"] == number]
        if len(rows) == count and all((self.folder / row["file"]).is_file() for row in rows):
            return rows
        if rows:
            self.rows = [row for row in self.rows if row["number"] != number]
            self._rewrite()
        return None

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add the rows of a prompt, once its images are written."""
        self.rows += rows
        with (self.folder / ROWS).open("a") as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows))

    def _rewrite(self) -> None:
        write_text(self.folder / ROWS, "".join(json.dumps(row) + "\n" for row in self.rows))


def _whole_rows(file: Path) -> list[dict[str, Any]]:
    lines = file.read_text().split("\n")  # text behind the last line's end is a row cut short
    try:
        return [json.loads(line) for line in lines[:-1]]
    except ValueError as error:
        raise ValueError(f"{file}: damaged: {error}; remove it, or give another --output") from error
