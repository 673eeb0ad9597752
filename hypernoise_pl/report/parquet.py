"""Image rows as parquet files, one column per figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from hypernoise_pl.report.rows import Cost, ImageRow, MethodInfo

SCORE = "score_"  # before the name of every reward's column


def write_rows(rows: Sequence[ImageRow], file: Path) -> None:
    """Write rows to a file: the columns of method, cost and image, and ``score_NAME`` for every reward."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    flat = []
    for row in rows:
        entry = asdict(row)
        method, cost, scores = (entry.pop(name) for name in ("method", "cost", "scores"))
        flat.append(method | entry | cost | {SCORE + name: score for name, score in scores.items()})
    table = pa.Table.from_pylist(flat)
    for name, dtype in (("judge", pa.float64()), ("search", pa.string())):
        if table.schema.field(name).type == pa.null():  # a column without values keeps its type
            table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(dtype))
    pq.write_table(table, file)


def read_rows(file: Path) -> list[ImageRow]:
    """The rows of a file.

    Raises:
        ValueError: if the file is damaged, or another version wrote it.
    """
    import pyarrow
    import pyarrow.parquet as pq

    if file.is_dir():  # pyarrow would read its files as one table
        raise ValueError(f"{file}: is a folder; remove it, and the same command makes the file again")
    try:
        entries: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise ValueError(f"{file}: damaged; remove it, and the same command makes it again") from error
    try:
        return [_row(entry) for entry in entries]
    except KeyError as error:
        raise ValueError(f"{file}: has no column {error}; another version wrote it, give another --output") from error


def _row(entry: dict[str, Any]) -> ImageRow:
    scores = {name.removeprefix(SCORE): value for name, value in entry.items() if name.startswith(SCORE)}
    method = MethodInfo(**{field.name: entry[field.name] for field in fields(MethodInfo)})
    cost = Cost(**{field.name: entry[field.name] for field in fields(Cost)})
    image = {name: entry[name] for name in ("prompt", "text", "tag", "seed", "reward", "judge", "image")}
    return ImageRow(method=method, cost=cost, scores=scores, **image)
