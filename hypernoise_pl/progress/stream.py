"""A stream that prints above the live view."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from typing import Any, Protocol

_MOVES = re.compile(r"(\r|\n|\x1b\[\d*A)")
_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class StreamView(Protocol):
    """The part of the view that a stream uses."""

    lock: threading.RLock  # type: ignore[valid-type]
    drawing: bool

    @property
    def open(self) -> bool:
        """Whether this process draws the view."""

    def print_above(self, stream: StreamAboveView, text: str) -> None:
        """Print complete lines above the view."""


class StreamAboveView:
    """A text stream that prints complete lines above the view; an unfinished line is the first line of the view.

    Progress bars of other libraries move the cursor to redraw their lines; such lines stay in the view until the
    cursor has moved below them.

    Args:
        view: view that is drawn.
        target: stream that receives the text.
    """

    def __init__(self, view: StreamView, target: Any) -> None:
        self.target = target
        self._view = view
        self._lines, self._cursor = [""], 0
        self._overwrite = False  # whether the next text replaces the line
        self._redrawn = False  # whether a progress bar may redraw the lines

    def __getattr__(self, name: str) -> Any:
        return getattr(self.target, name)

    def write(self, text: str) -> int:
        """Print complete lines, and keep an unfinished one."""
        if not self._view.open:
            return int(self.target.write(text))
        with self._view.lock:
            for piece in _MOVES.split(text):
                self._process(piece)
            if not self._redrawn:
                self.print_complete()
        return len(text)

    def writelines(self, texts: Iterable[str]) -> None:
        """Write several texts."""
        for text in texts:
            self.write(text)

    def flush(self) -> None:
        """Flush the target; the view shows an unfinished line already."""
        if not self._view.open:
            self.target.flush()

    def print_complete(self) -> None:
        """Print the lines above the cursor."""
        if self._view.drawing or not self._cursor:
            return
        complete, self._lines, self._cursor = self._lines[: self._cursor], self._lines[self._cursor :], 0
        self._redrawn = self._redrawn and bool(self._lines[0])
        self._view.print_above(self, "".join(f"{line}\n" for line in complete))

    def unfinished(self) -> list[str]:
        """The lines that are not printed yet, without control codes."""
        return [text for text in (_CODES.sub("", line).rstrip() for line in self._lines) if text]

    def release(self) -> None:
        """Write all kept text to the target."""
        start = "\r" if self._redrawn else ""
        text = "\n".join(f"{start}{line}" if line else "" for line in self._lines)
        if text:
            self.target.write(text)
        self.target.flush()
        self._lines, self._cursor, self._overwrite, self._redrawn = [""], 0, False, False

    def _process(self, piece: str) -> None:
        if piece == "\n":
            self._cursor, self._overwrite = self._cursor + 1, False
            if self._cursor == len(self._lines):
                self._lines.append("")
            elif not self._lines[self._cursor].strip():  # a progress bar was cleared here
                self._lines[self._cursor] = ""
        elif piece == "\r":
            self._overwrite = True
        elif _MOVES.fullmatch(piece):
            self._cursor = max(0, self._cursor - int(piece[2:-1] or 1))
        elif piece:
            self._redrawn = self._redrawn or self._overwrite
            self._lines[self._cursor] = piece if self._overwrite else self._lines[self._cursor] + piece
            self._overwrite = False
