"""Text that is printed while the live view is drawn."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from typing import Any, Protocol

_MOVES = re.compile(r"(\r|\n|\x1b\[\d*A)")
_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Owner(Protocol):
    """The view, as a stream needs it."""

    lock: threading.RLock  # type: ignore[valid-type]
    drawing: bool

    @property
    def open(self) -> bool:
        """Whether this process draws."""

    def above(self, stream: Above, text: str) -> None:
        """Print whole lines above the view."""


class Above:
    """A text stream whose lines stand above the view; what has no end yet is the view's first line.

    Bars of other libraries move the cursor back and up to draw over what they drew; such lines stay in the view until
    they are done with.

    Args:
        view: where it is.
        below: stream that is written to.
    """

    def __init__(self, view: Owner, below: Any) -> None:
        self.below = below
        self._view = view
        self._lines, self._at = [""], 0
        self._over = False  # the next text takes the line's place
        self._bars = False  # what is there may be drawn over

    def __getattr__(self, name: str) -> Any:
        return getattr(self.below, name)

    def write(self, text: str) -> int:
        """Print what ends with a line's end, and keep the rest."""
        if not self._view.open:
            return int(self.below.write(text))
        with self._view.lock:
            for piece in _MOVES.split(text):
                self._take(piece)
            if not self._bars:
                self.settle()
        return len(text)

    def writelines(self, texts: Iterable[str]) -> None:
        """Print several texts."""
        for text in texts:
            self.write(text)

    def flush(self) -> None:
        """Flush what is printed; the rest is seen in the view."""
        if not self._view.open:
            self.below.flush()

    def settle(self) -> None:
        """Print the lines above the cursor, to which nobody goes back."""
        if self._view.drawing or not self._at:
            return
        whole, self._lines, self._at = self._lines[: self._at], self._lines[self._at :], 0
        self._bars = self._bars and bool(self._lines[0])
        self._view.above(self, "".join(f"{line}\n" for line in whole))

    def rest(self) -> list[str]:
        """Lines without an end."""
        return [text for text in (_CODES.sub("", line).rstrip() for line in self._lines) if text]

    def let_go(self) -> None:
        """Write all that is kept, as it came."""
        begin = "\r" if self._bars else ""
        text = "\n".join(f"{begin}{line}" if line else "" for line in self._lines)
        if text:
            self.below.write(text)
        self.below.flush()
        self._lines, self._at, self._over, self._bars = [""], 0, False, False

    def _take(self, piece: str) -> None:
        if piece == "\n":
            self._at, self._over = self._at + 1, False
            if self._at == len(self._lines):
                self._lines.append("")
            elif not self._lines[self._at].strip():  # of a bar that was wiped out
                self._lines[self._at] = ""
        elif piece == "\r":
            self._over = True
        elif _MOVES.fullmatch(piece):
            self._at = max(0, self._at - int(piece[2:-1] or 1))
        elif piece:
            self._bars = self._bars or self._over
            self._lines[self._at] = piece if self._over else self._lines[self._at] + piece
            self._over = False
