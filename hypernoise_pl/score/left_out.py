"""What no figure counts, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class LeftOut:
    """What does not enter the figures.

    Args:
        image: its name, as the benchmark or the user's file names it; None for a line that names no image.
        line: of the user's file; None for an image that has no line, or where there is no such file.
        why: what is wrong.
        method: that made it; empty where all images are of one.
    """

    image: str | None
    line: int | None
    why: str
    method: str = ""

    def __str__(self) -> str:
        line = None if self.line is None else f"line {self.line}"
        if self.image is None:
            return f"{line}: {self.why}"
        about = ", ".join(filter(None, (self.method, line)))
        return f"{self.image}{f' ({about})' if about else ''}: {self.why}"


def counts(left: Sequence[LeftOut]) -> dict[str, Any]:
    """What was left out, for a summary: ``images_left_out``, ``lines_left_out`` that name no image, and ``left_out``.

    Args:
        left: all of it; several lines may name one image.
    """
    return {
        "images_left_out": len({(each.method, each.image) for each in left if each.image is not None}),
        "lines_left_out": sum(each.image is None for each in left),
        "left_out": [asdict(each) for each in left],
    }
