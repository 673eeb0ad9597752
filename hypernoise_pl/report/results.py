"""A comparison's run folder: a part for every unit of work, whole or not there; a row and a picture for every image."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from hypernoise_pl.report.figures import to_tensor
from hypernoise_pl.system.files import whole, write
from hypernoise_pl.types import to_uint8

IDENTITY = "comparison.json"  # what a folder's figures depend on
SCORE = "score_"  # before the name of every reward's column
JUDGE = "judge"  # the verifier that is the judge itself
WEIGHTED, RANKED = ENSEMBLES = ("weighted", "ensemble_rank")  # verifiers made of all rewards


@dataclass
class Row:
    """One image of one method, and all that was measured of it.

    Args:
        label: of the table's row: the method, and its budget where it has several.
        method: its name.
        search: class of its search.
        settings: of that search, whatever the budget makes of its length.
        verifier: by which it searched.
        trained: whether it started from what was trained.
        budget: network evaluations an image that were asked for.
        prompt: the prompt's index.
        text: the prompt.
        tag: its kind.
        seed: number of the prompt's noise.
        steps: network evaluations an image of the generator.
        nfe: network evaluations spent on this image, all candidates together.
        nfe_backward: backward passes through the network.
        decodes: latents decoded.
        verified: samples scored.
        missing: samples that the verifier could not score, the mean of its unit of work.
        seconds: of drawing, network, decoding and verifying; the mean of its unit of work.
        device: that it was made on, by name; of the CPU, its number of threads too.
        judge: 1 or 0; None without a judge.
        reward: weighted sum of the scores.
        scores: reward -> raw score.
        image: file in the run folder.
    """

    label: str
    method: str
    search: str
    settings: str
    verifier: str
    trained: bool
    budget: int
    prompt: int
    text: str
    tag: str
    seed: int
    steps: int
    nfe: int
    nfe_backward: int
    decodes: int
    verified: int
    missing: float
    seconds: float
    device: str
    judge: float | None
    reward: float
    scores: dict[str, float]
    image: str


@dataclass
class Results:
    """The folder.

    Args:
        folder: to read and write.
    """

    folder: Path

    def begin(self, identity: Mapping[str, Any], unlike: Callable[[Any, Any], str | None]) -> None:
        """Take the folder for a comparison, or find that it is this one's already.

        Args:
            identity: what the figures depend on.
            unlike: the first difference of two identities, in words; None where there is none.

        Raises:
            ValueError: if the folder holds another comparison's results; nothing is written then.
        """
        file = self.folder / IDENTITY
        if file.exists():
            found = unlike(_read(file), identity)
            if found is not None:
                raise ValueError(f"{self.folder} holds results with {found}; give another --output")
        elif (self.folder / "summary.json").exists():
            raise ValueError(f"{self.folder} holds another run's summary.json; give another --output")
        for name in ("parts", "images"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        if not file.exists():
            write(file, json.dumps(identity, indent=1) + "\n")

    @staticmethod
    def unfinished(root: Path, identity: Mapping[str, Any], unlike: Callable[[Any, Any], str | None]) -> Path | None:
        """The newest run folder under ``root`` that has begun this very comparison and not ended it."""
        begun = sorted(root.glob(f"*/{IDENTITY}"), key=lambda file: file.stat().st_mtime, reverse=True)
        for file in begun:
            if (file.parent / "summary.json").exists():
                continue
            with contextlib.suppress(ValueError):  # a damaged folder is none to continue
                if unlike(_read(file), identity) is None:
                    return file.parent
        return None

    def has(self, label: str, number: int) -> bool:
        """Whether a unit is done."""
        return self._part(label, number).exists()

    def add(self, label: str, number: int, rows: Sequence[Row], images: Tensor) -> None:
        """Write a unit: its pictures, then its rows; it counts as done only with the last."""
        import pyarrow.parquet as pq

        for row, pixels in zip(rows, to_uint8(images), strict=True):
            row.image = f"images/{label}/{row.prompt:05d}-{row.seed}.png"
            file = self.folder / row.image
            file.parent.mkdir(exist_ok=True)
            with whole(file) as partial:
                Image.fromarray(pixels.numpy()).save(partial, "PNG")
        with whole(self._part(label, number)) as partial:
            pq.write_table(_table(rows), partial)

    def rows(self, labels: Sequence[str]) -> list[Row]:
        """Every row, by method in the order given, then as the units were cut.

        Raises:
            ValueError: if a unit's file is damaged.
        """
        found = []
        for label in labels:
            for part in sorted((self.folder / "parts").glob(f"{label}@*.parquet")):
                for entry in _entries(part):
                    scores = {k.removeprefix(SCORE): entry.pop(k) for k in list(entry) if k.startswith(SCORE)}
                    found.append(Row(**entry, scores=scores))
        return found

    def finish(self, rows: Sequence[Row]) -> Path:
        """All rows in one file."""
        import pyarrow.parquet as pq

        file = self.folder / "results.parquet"
        with whole(file) as partial:
            pq.write_table(_table(rows), partial)
        return file

    def images(self, rows: Sequence[Row]) -> Tensor:
        """[M, 3, H, W] pictures in [0, 1], as they were written."""
        return torch.stack([to_tensor(Image.open(self.folder / row.image).convert("RGB")) for row in rows])

    def speed(self, name: str, measure: Callable[[], float]) -> float:
        """Seconds per network evaluation of a method: measured once, then read, so that every process agrees."""
        file = self.folder / f"speed-{name}.json"
        if not file.exists():
            seconds = measure()
            self.folder.mkdir(parents=True, exist_ok=True)
            if not file.exists():
                write(file, json.dumps({"seconds_per_nfe": seconds}) + "\n")
        try:
            return float(json.loads(file.read_text())["seconds_per_nfe"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file}: damaged; remove it, and it is measured again") from error

    def _part(self, label: str, number: int) -> Path:
        return self.folder / "parts" / f"{label}@{number:05d}.parquet"


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
        if isinstance(found, dict):
            return found
    except (OSError, ValueError):
        pass
    raise ValueError(f"{file}: damaged; use another --output, or remove that folder")


def _entries(part: Path) -> list[dict[str, Any]]:
    """The rows of a unit's file."""
    import pyarrow
    import pyarrow.parquet as pq

    if part.is_dir():  # which it would read as one table
        raise ValueError(f"{part}: a folder; remove it, and the same command makes the file again")
    try:
        return pq.read_table(part).to_pylist()  # type: ignore[no-any-return]
    except (OSError, pyarrow.ArrowException) as error:
        raise ValueError(f"{part}: damaged; remove it, and the same command makes it again") from error


def _table(rows: Sequence[Row]) -> Any:
    import pyarrow as pa

    flat = []
    for row in rows:
        entry = asdict(row)
        entry |= {SCORE + name: score for name, score in entry.pop("scores").items()}
        flat.append(entry)
    table = pa.Table.from_pylist(flat)
    if table.schema.field("judge").type == pa.null():  # a column of no verdicts still holds numbers
        place = table.schema.get_field_index("judge")
        table = table.set_column(place, "judge", table["judge"].cast(pa.float64()))
    return table
