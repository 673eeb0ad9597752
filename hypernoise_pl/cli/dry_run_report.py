"""The findings of a dry run, and sizes in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypernoise_pl.config.signatures import ConfigError


@dataclass
class Findings:
    """The findings of a dry run.

    Args:
        lines: name and text of each line to print, in order.
        missing: errors, a line each.
        unknown: models that the hub could not be asked about.
    """

    lines: list[tuple[str, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def add(self, name: str, text: str) -> None:
        """Add a line."""
        self.lines.append((name, text))

    def as_json(self) -> dict[str, Any]:
        """The findings as ``--json`` prints them."""
        return {"found": self.lines, "missing": self.missing, "unknown": self.unknown}


def print_findings(command: str, description: str, findings: Findings) -> None:
    """Print the findings of a dry run.

    Args:
        command: name of the command.
        description: purpose of the run.
        findings: findings to print.

    Raises:
        ConfigError: with everything that is missing.
    """
    width = max((len(name) for name, _ in findings.lines), default=0)
    lines = [f"{name:<{width}}  {text}" for name, text in findings.lines]
    print("\n".join([f"{command}: dry run, nothing is made: {description}", *lines]))
    if findings.missing:
        raise ConfigError(missing_lines(findings.missing))
    unknown = f", but for {', '.join(findings.unknown)}, not on this machine" if findings.unknown else ""
    print(f"nothing is missing{unknown}; without --dry-run the command runs")


def missing_lines(missing: Sequence[str]) -> str:
    """Errors as one text: one by itself, several in lines below their count."""
    return missing[0] if len(missing) == 1 else "\n  ".join([f"{len(missing)} things are missing or wrong:", *missing])


def parameters_in_words(count: int, size: int) -> str:
    """A number of parameters, and their bytes."""
    return f"{count:,} parameters, {bytes_in_words(size)}"


def bytes_in_words(size: float) -> str:
    """Bytes to three digits, in a unit that keeps the number small."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} GiB"
