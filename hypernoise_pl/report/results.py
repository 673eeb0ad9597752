"""The run folder of a comparison: a file of rows for every unit of work, and a picture for every image."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from hypernoise_pl.metrics.diversity import pairwise_distance
from hypernoise_pl.report.figures import to_tensor
from hypernoise_pl.report.parquet import read_rows, write_rows
from hypernoise_pl.report.rows import ImageRow
from hypernoise_pl.report.summary import ImageStats
from hypernoise_pl.system.files import atomic_write, write_text
from hypernoise_pl.types import to_uint8

IDENTITY = "comparison.json"  # the settings that decide the figures
AT_ONCE = 64  # images in memory

Features = Callable[[Tensor], Tensor]


@dataclass
class Results:
    """The files of a comparison's run folder.

    Args:
        folder: run folder.
    """

    folder: Path

    def begin(self, identity: Mapping[str, Any], unlike: Callable[[Any, Any], str | None]) -> None:
        """Begin a comparison in the folder, or continue it there.

        Args:
            identity: settings that decide the figures.
            unlike: function that words the first difference of two identities; None where they are equal.

        Raises:
            ValueError: if the folder holds another comparison's results; nothing is written then.
        """
        file = self.folder / IDENTITY
        if file.exists():
            difference = unlike(_read(file), identity)
            if difference is not None:
                raise ValueError(f"{self.folder} holds results with {difference}; give another --output")
        elif (self.folder / "summary.json").exists():
            raise ValueError(f"{self.folder} holds another run's summary.json; give another --output")
        for name in ("parts", "images"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        if not file.exists():
            write_text(file, json.dumps(identity, indent=1) + "\n")

    @staticmethod
    def unfinished(root: Path, identity: Mapping[str, Any], unlike: Callable[[Any, Any], str | None]) -> Path | None:
        """The newest run folder under ``root`` with an unfinished comparison of this identity."""
        begun = sorted(root.glob(f"*/{IDENTITY}"), key=lambda file: file.stat().st_mtime, reverse=True)
        for file in begun:
            if (file.parent / "summary.json").exists():
                continue
            with contextlib.suppress(ValueError):  # a damaged folder is not continued
                if unlike(_read(file), identity) is None:
                    return file.parent
        return None

    def has(self, label: str, number: int) -> bool:
        """Whether a unit is done."""
        return self._part(label, number).exists()

    def add(self, label: str, number: int, rows: Sequence[ImageRow], images: Tensor) -> None:
        """Write the pictures of a unit, then its rows; with the rows' file the unit is done."""
        for row, pixels in zip(rows, to_uint8(images), strict=True):
            row.image = f"images/{label}/{row.prompt:05d}-{row.seed}.png"
            file = self.folder / row.image
            file.parent.mkdir(exist_ok=True)
            with atomic_write(file) as partial:
                Image.fromarray(pixels.numpy()).save(partial, "PNG")
        with atomic_write(self._part(label, number)) as partial:
            write_rows(rows, partial)

    def rows(self, labels: Sequence[str]) -> dict[str, list[ImageRow]]:
        """Label -> rows, in the order of the units.

        Raises:
            ValueError: if a unit's file is damaged.
        """
        return {
            label: [
                row for part in sorted((self.folder / "parts").glob(f"{label}@*.parquet")) for row in read_rows(part)
            ]
            for label in labels
        }

    def finish(self, rows: Sequence[ImageRow]) -> Path:
        """Write all rows to one file."""
        file = self.folder / "results.parquet"
        with atomic_write(file) as partial:
            write_rows(rows, partial)
        return file

    def images(self, rows: Sequence[ImageRow]) -> Tensor:
        """[M, 3, H, W] images in [0, 1], read from the pictures."""
        return torch.stack([to_tensor(Image.open(self.folder / row.image).convert("RGB")) for row in rows])

    def image_stats(self, rows: Sequence[ImageRow], features: Features | None) -> ImageStats:
        """Diversity and features of a method's images, a few in memory at a time.

        Args:
            rows: the method's rows.
            features: function from images [M, 3, H, W] to features [M, D]; None to leave them out.
        """
        by_prompt: dict[int, list[ImageRow]] = {}
        for row in rows:
            by_prompt.setdefault(row.prompt, []).append(row)
        distances = [d for own in by_prompt.values() for d in pairwise_distance(self.images(own), [0] * len(own))]
        diversity = fmean(distances) if distances else None
        if features is None:
            return ImageStats(diversity)
        parts = [features(self.images(rows[start : start + AT_ONCE])) for start in range(0, len(rows), AT_ONCE)]
        return ImageStats(diversity, torch.cat(parts))

    def speed(self, name: str, measure: Callable[[], float]) -> float:
        """Seconds per network evaluation of a method: measured once, then read, the same for every process."""
        file = self.folder / f"speed-{name}.json"
        if not file.exists():
            seconds = measure()
            self.folder.mkdir(parents=True, exist_ok=True)
            if not file.exists():
                write_text(file, json.dumps({"seconds_per_nfe": seconds}) + "\n")
        try:
            return float(json.loads(file.read_text())["seconds_per_nfe"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file}: damaged; remove it, and the speed is measured again") from error

    def _part(self, label: str, number: int) -> Path:
        return self.folder / "parts" / f"{label}@{number:05d}.parquet"


def _read(file: Path) -> dict[str, Any]:
    try:
        identity = json.loads(file.read_text())
        if isinstance(identity, dict):
            return identity
    except (OSError, ValueError):
        pass
    raise ValueError(f"{file}: damaged; use another --output, or remove that folder")
