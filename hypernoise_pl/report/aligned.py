"""Rows of text in columns."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], columns: int | None = None) -> str:
    """Rows in plain text, the first column to the left and the others to the right, with a line below the first row.

    Args:
        rows: of the same number of cells.
        columns: first columns that are shown; None for all.
    """
    shown = [row[:columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    lines = [
        "  ".join(f"{cell:<{width}}" if place == 0 else f"{cell:>{width}}" for place, (cell, width) in enumerate(cells))
        for cells in (zip(row, widths, strict=True) for row in shown)
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
