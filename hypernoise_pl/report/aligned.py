"""Text tables with aligned columns."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], columns: int | None = None) -> str:
    """A table in plain text: the first column left-aligned, the others right-aligned, a line below the first row.

    Args:
        rows: rows with the same number of cells.
        columns: number of shown columns; None for all.
    """
    shown = [row[:columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    lines = [
        "  ".join(
            f"{cell:<{width}}" if column == 0 else f"{cell:>{width}}" for column, (cell, width) in enumerate(cells)
        )
        for cells in (zip(row, widths, strict=True) for row in shown)
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
