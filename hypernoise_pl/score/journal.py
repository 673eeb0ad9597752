"""The outcomes that a run of ``score`` has so far, a line an image, kept when the same command continues."""

from __future__ import annotations

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
Key = tuple[str, str, int]  # method, name and prompt of an image


class Journal:
    """A run folder's outcomes; an image that was written anew since is scored again.

    Args:
        folder: run folder.
        settings: all that decides a figure, as JSON has it.
        shard: number of this process's share of the images.
        shards: shares in all.

    Raises:
        ConfigError: if the folder holds outcomes of other settings.
        ValueError: if its files are damaged.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], shard: int = 0, shards: int = 1) -> None:
        self.folder, self.file = folder, folder / f"outcomes-{shard}-of-{shards}.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / SETTINGS).exists():
            found = first_difference(read_settings(folder / SETTINGS), settings)
            if found is not None:
                raise ConfigError(f"--output {folder}: holds figures of other settings: {found}; give another --output")
        elif any((folder / name).exists() for name in ("summary.json", "results.jsonl")):
            raise ConfigError(f"--output {folder}: holds another run's figures; give another --output")
        else:
            write_text(folder / SETTINGS, json.dumps(settings, indent=1) + "\n")
        self._end_line()

    def known(self, images: Iterable[ImageFile]) -> dict[Key, Outcome | LeftOut]:
        """What is known of images, by all shards, where their files are still those that were looked at."""
        rows = [row for file in sorted(self.folder.glob("outcomes-*.jsonl")) for row in _whole_rows(file)]
        found = {(row["made_by"], row["name"], row["prompt"], *row["file"]): row for row in rows}
        return {
            key: _outcome(row) if row.get("left_out") is None else _left_out(image, row["left_out"])
            for image in images
            if (row := found.get((*(key := key_of(image)), *_state(image.path)))) is not None
        }

    def add(self, images: Sequence[ImageFile], outcomes: Sequence[Outcome | LeftOut]) -> None:
        """Write down what was found out of images."""
        with self.file.open("a") as file:
            file.write("".join(_line(image, outcome) for image, outcome in zip(images, outcomes, strict=True)))

    def _end_line(self) -> None:
        """End the last line, where a process died within it: what is added next is then a line of its own."""
        if self.file.exists() and not self.file.read_bytes().endswith(b"\n"):
            with self.file.open("a") as file:
                file.write("\n")


def key_of(image: ImageFile) -> Key:
    """What tells an image from others: its method, its name and its prompt's index."""
    return image.made_by, image.name, image.prompt.index


def _line(image: ImageFile, outcome: Outcome | LeftOut) -> str:
    made_by, name, prompt = key_of(image)
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
    """Size and time of change; both 0 for a file that is gone."""
    try:
        found = file.stat()
    except OSError:
        return [0, 0]
    return [found.st_size, found.st_mtime_ns]


def _whole_rows(file: Path) -> list[dict[str, Any]]:
    """The rows of a file; what was cut short at its end, by a process that died, is passed over."""
    rows = []
    for line in file.read_text().split("\n"):
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows
