"""What no figure counts, and why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LeftOut:
    """What does not enter the figures.

    Args:
        image: its name, as the benchmark or the user's file names it; None for a line that names no image.
        line: of the user's file; None for an image that has no line, or where there is no such file.
        why: what is wrong.
    """

    image: str | None
    line: int | None
    why: str

    def __str__(self) -> str:
        where = "" if self.line is None else f"line {self.line}"
        name = where if self.image is None else self.image + (f" ({where})" if where else "")
        return f"{name}: {self.why}"
