"""How the live view looks: bars, signs that turn, and facts below them."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field

BAR = 12  # columns below which a bar has a line of its own


@dataclass(frozen=True)
class Row:
    """What the view shows of one piece of work.

    Args:
        name: work's name.
        share: part of it that is done, 0 to 1; None where nobody knows, for a sign that turns.
        words: count and time, right of the bar.
        facts: texts below the bar; each inner list begins a line of its own and goes on in as many as it needs.
    """

    name: str
    share: float | None
    words: str
    facts: list[list[str]] = field(default_factory=list)


def pictured(rest: list[str], rows: list[Row], width: int, turn: int = 0, encoding: str = "utf-8") -> list[str]:
    """The rows as a terminal takes them, a text a line.

    Args:
        rest: lines of others that have no end yet; each is cut to the width.
        rows: work that is shown.
        width: columns.
        turn: number of the picture, by which signs turn.
        encoding: terminal's; bars are ASCII where it is not one of Unicode's.
    """
    from rich.console import Console
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    text = type("_Text", (io.StringIO,), {"encoding": encoding})()
    console = Console(file=text, width=width, force_terminal=True, legacy_windows=False, highlight=False)
    for line in rest:
        console.print(Text(line, no_wrap=True, overflow="crop"))
    for row in rows:
        name, words = Text(row.name, "bold", no_wrap=True), Text(row.words)
        room = width - name.cell_len - words.cell_len - 2
        if row.share is None:
            signs = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏" if encoding.lower().startswith("utf") else "|/-\\"
            console.print(Text(f"{signs[turn % len(signs)]} ").append_text(name).append(" ").append_text(words))
        else:
            bar, grid = ProgressBar(1.0, row.share, width=room if room >= BAR else width), Table.grid(padding=(0, 1))
            if room >= BAR:
                grid.add_row(name, bar, words)
            else:
                console.print(name.append(" ").append_text(words))
                grid.add_row(bar)
            console.print(grid)
        for facts in row.facts:
            for line in _lines(facts, width - 2):
                console.print(Text(f"  {line}", "dim", no_wrap=True))
    return text.getvalue().splitlines()


def _lines(facts: list[str], width: int) -> Iterator[str]:
    """Facts with commas between; where one has no room it begins a line, and goes on in a deeper one."""
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
