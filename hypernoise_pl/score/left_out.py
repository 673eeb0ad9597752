"""Images and lines that enter no figure, with the reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class LeftOut:
    """An image or a line that enters no figure.

    Args:
        image: name of the image in the benchmark or the user's file; None for a line that names no image.
        line: line of the user's file; None for an image without a line, or without such a file.
        why: reason.
        method: method that generated the image; empty if all images have the same method.
    """

    image: str | None
    line: int | None
    why: str
    method: str = ""

    def __str__(self) -> str:
        line = None if self.line is None else f"line {self.line}"
        if self.image is None:
            return f"{line}: {self.why}"
        source = ", ".join(filter(None, (self.method, line)))
        return f"{self.image}{f' ({source})' if source else ''}: {self.why}"


def count_left_out(left_out: Sequence[LeftOut]) -> dict[str, Any]:
    """Count what is left out, for ``summary.json``.

    Args:
        left_out: everything that is left out; several lines may name one image.

    Returns:
        ``images_left_out``; ``lines_left_out``, lines that name no image; and ``left_out``, the list itself.
    """
    return {
        "images_left_out": len({(item.method, item.image) for item in left_out if item.image is not None}),
        "lines_left_out": sum(item.image is None for item in left_out),
        "left_out": [asdict(item) for item in left_out],
    }
