"""What ``predict`` has written: images and a row for each, kept when the same command continues."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hypernoise_pl.config.identity import first_difference
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.system.files import read_settings, write

SETTINGS, ROWS, END = "settings.json", "predictions.jsonl", "grid.png"


class Predictions:
    """A folder of images, and ``predictions.jsonl`` with a row for each image; rows of one prompt are written together.

    Args:
        folder: to write; it is made if need be.
        settings: all that decides an image or its row, as JSON has it.

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
            write(file, json.dumps(settings, indent=1) + "\n")
        if (folder / ROWS).exists():
            self.rows = _whole_rows(folder / ROWS)
            self._rewrite()  # without a row that was cut short

    @staticmethod
    def unfinished(root: Path, settings: Mapping[str, Any]) -> Path | None:
        """The newest folder under ``root`` that has begun with these settings and not ended."""
        begun = sorted(root.glob(f"*/{SETTINGS}"), key=lambda file: file.stat().st_mtime, reverse=True)
        for file in begun:
            if not (file.parent / END).exists() and first_difference(read_settings(file), settings) is None:
                return file.parent
        return None

    def of(self, number: int, count: int) -> list[dict[str, Any]] | None:
        """The rows of a prompt, by its place in the list of prompts.

        Args:
            number: place of the prompt, from 0.
            count: rows that it needs.

        Returns:
            None if they are not all there, or one of their images is missing; they are dropped then.
        """
        rows = [row for row in self.rows if row["number"] == number]
        if len(rows) == count and all((self.folder / row["file"]).is_file() for row in rows):
            return rows
        if rows:
            self.rows = [row for row in self.rows if row["number"] != number]
            self._rewrite()
        return None

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write the rows of a prompt whose images are written."""
        self.rows += rows
        with (self.folder / ROWS).open("a") as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows))

    def _rewrite(self) -> None:
        write(self.folder / ROWS, "".join(json.dumps(row) + "\n" for row in self.rows))


def _whole_rows(file: Path) -> list[dict[str, Any]]:
    lines = file.read_text().split("\n")  # what stands behind the last line's end was cut short
    try:
        return [json.loads(line) for line in lines[:-1]]
    except ValueError as error:
        raise ValueError(f"{file}: damaged: {error}; remove it, or give another --output") from error
