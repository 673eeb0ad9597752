"""What a dry run has found, and sizes in words."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Found:
    """What a dry run has found.

    Args:
        lines: name and text of what is to be said, in this order.
        missing: what is wrong or not there, a line each.
        unknown: models that the hub could not be asked about.
    """

    lines: list[tuple[str, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def say(self, name: str, text: str) -> None:
        """Add a line."""
        self.lines.append((name, text))


def counted(count: int, size: int) -> str:
    """Parameters and their size."""
    return f"{count:,} parameters, {in_bytes(size)}"


def in_bytes(size: float) -> str:
    """Bytes to three digits, in the unit that suits them."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} GiB"
