"""Draws the live view: bars, spinners, and facts below them."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field

MIN_BAR = 12  # columns; a shorter bar moves to a line of its own


@dataclass(frozen=True)
class Row:
    """One piece of work in the live view.

    Args:
        name: name of the work.
        share: finished share in [0, 1]; None for a spinner instead of a bar.
        status: count and time, right of the bar.
        facts: texts below the bar; each inner list starts a new line and is wrapped.
    """

    name: str
    share: float | None
    status: str
    facts: list[list[str]] = field(default_factory=list)


def draw_rows(unfinished: list[str], rows: list[Row], width: int, frame: int = 0, encoding: str = "utf-8") -> list[str]:
    """Draw rows as lines of a terminal.

    Args:
        unfinished: printed lines without an end; each is cut to the width.
        rows: rows to draw.
        width: number of columns.
        frame: number of the frame, which turns the spinners.
        encoding: encoding of the terminal; without Unicode the bars are ASCII.
    """
    from rich.console import Console
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    text = type("_Text", (io.StringIO,), {"encoding": encoding})()
    console = Console(file=text, width=width, force_terminal=True, legacy_windows=False, highlight=False)
    for line in unfinished:
        console.print(Text(line, no_wrap=True, overflow="crop"))
    for row in rows:
        name, status = Text(row.name, "bold", no_wrap=True), Text(row.status)
        room = width - name.cell_len - status.cell_len - 2
        if row.share is None:
            signs = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏" if encoding.lower().startswith("utf") else "|/-\\"
            console.print(Text(f"{signs[frame % len(signs)]} ").append_text(name).append(" ").append_text(status))
        else:
            bar = ProgressBar(1.0, row.share, width=room if room >= MIN_BAR else width)
            grid = Table.grid(padding=(0, 1))
            if room >= MIN_BAR:
                grid.add_row(name, bar, status)
            else:
                console.print(name.append(" ").append_text(status))
                grid.add_row(bar)
            console.print(grid)
        for facts in row.facts:
            for line in _lines(facts, width - 2):
                console.print(Text(f"  {line}", "dim", no_wrap=True))
    return text.getvalue().splitlines()


def _lines(facts: list[str], width: int) -> Iterator[str]:
    """Join facts with commas and wrap them to the width; a fact moves to the next line if it does not fit."""
    line = ""
    for fact in filter(None, facts):
        if line and len(line) + 2 + len(fact) > width:
            yield line
            line = ""
        line = f"{line}, {fact}" if line else fact
        *whole, line = textwrap.wrap(line, width, subsequent_indent="  ", break_on_hyphens=False)
        yield from whole
    if line:
        yield line
