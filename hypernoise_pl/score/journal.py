"""The journal of a ``score`` run: the outcome of each image, one per line, with which the same command continues."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hypernoise_pl.config.identity import first_difference
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.metrics.benchmark import Outcome
from hypernoise_pl.metrics.image_files import ImageFile
from hypernoise_pl.score.left_out import LeftOut
from hypernoise_pl.system.files import read_settings, write_text

SETTINGS = "settings.json"
Key = tuple[str, str, int]  # method, name and prompt index of an image


class Journal:
    """The outcomes in a run folder; an image file that changes afterwards is scored again.

    Args:
        folder: run folder.
        settings: settings that determine the figures, as JSON.
        shard: index of this process's shard of the images.
        shards: number of shards.

    Raises:
        ConfigError: if the folder holds outcomes of other settings.
        ValueError: if its files are damaged.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], shard: int = 0, shards: int = 1) -> None:
        self.folder, self.file = folder, folder / f"outcomes-{shard}-of-{shards}.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / SETTINGS).exists():
            difference = first_difference(read_settings(folder / SETTINGS), settings)
            if difference is not None:
                raise ConfigError(
                    f"--output {folder}: holds figures of other settings: {difference}; give another --output"
                )
        elif any((folder / name).exists() for name in ("summary.json", "results.jsonl")):
            raise ConfigError(f"--output {folder}: holds another run's figures; give another --output")
        else:
            write_text(folder / SETTINGS, json.dumps(settings, indent=1) + "\n")
        self._end_line()

    def read_outcomes(self, images: Iterable[ImageFile]) -> dict[Key, Outcome | LeftOut]:
        """The outcomes of all shards for images whose files have not changed since."""
        rows = [row for file in sorted(self.folder.glob("outcomes-*.jsonl")) for row in _complete_rows(file)]
        rows_by_state = {(row["made_by"], row["name"], row["prompt"], *row["file"]): row for row in rows}
        return {
            key: _outcome(row) if row.get("left_out") is None else _left_out(image, row["left_out"])
            for image in images
            if (row := rows_by_state.get((*(key := image_key(image)), *_state(image.path)))) is not None
        }

    def add(self, images: Sequence[ImageFile], outcomes: Sequence[Outcome | LeftOut]) -> None:
        """Append the outcomes of images."""
        with self.file.open("a") as file:
            file.write("".join(_line(image, outcome) for image, outcome in zip(images, outcomes, strict=True)))

    def remove_locks(self) -> None:
        """Remove the empty folders that processes lock; a killed process leaves its folder."""
        for lock in self.folder.glob("share-*-of-*"):
            with contextlib.suppress(OSError):
                lock.rmdir()

    def _end_line(self) -> None:
        """End the last line, which a killed process may have left incomplete."""
        if self.file.exists() and not self.file.read_bytes().endswith(b"\n"):
            with self.file.open("a") as file:
                file.write("\n")


def image_key(image: ImageFile) -> Key:
    """The method, name and prompt index of an image, which identify it."""
    return image.made_by, image.name, image.prompt.index


def _line(image: ImageFile, outcome: Outcome | LeftOut) -> str:
    made_by, name, prompt = image_key(image)
    row: dict[str, Any] = {"made_by": made_by, "name": name, "prompt": prompt, "file": _state(image.path)}
    if isinstance(outcome, LeftOut):
        return json.dumps(row | {"left_out": outcome.why}) + "\n"
    figures = {name: _plain(value) for name, value in outcome.figures.items()}
    row |= {"value": _plain(outcome.value), "reason": outcome.reason, "figures": figures, "details": outcome.details}
    return json.dumps(row) + "\n"


def _left_out(image: ImageFile, why: str) -> LeftOut:
    return LeftOut(image.name, None, why, image.made_by)


def _outcome(row: Mapping[str, Any]) -> Outcome:
    figures = {name: _number(value) for name, value in row["figures"].items()}
    return Outcome(_number(row["value"]), row["reason"], figures, row["details"])


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _state(file: Path) -> list[int]:
    """Size and modification time of a file; both 0 for a missing file."""
    try:
        stat = file.stat()
    except OSError:
        return [0, 0]
    return [stat.st_size, stat.st_mtime_ns]


def _complete_rows(file: Path) -> list[dict[str, Any]]:
    """The rows of a file without incomplete lines, which a killed process leaves."""
    rows = []
    for line in file.read_text().split("\n"):
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows
