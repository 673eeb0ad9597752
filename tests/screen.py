"""What a terminal of a width shows after text and the few codes that the live view sends."""

import io
import re


class Screen(io.StringIO):
    """A terminal to write to.

    Args:
        columns: its width; a longer line goes on in the next.
    """

    encoding = "utf-8"

    def __init__(self, columns: int = 80) -> None:
        super().__init__()
        self.columns = columns
        self.lines = [""]
        self.row = self.column = 0

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        for piece in re.split(r"(\x1b\[[0-9;?]*[A-Za-z]|[\r\n])", text):
            self._take(piece)
        return len(text)

    def shown(self) -> str:
        return "\n".join(line.rstrip() for line in self.lines).rstrip("\n")

    def _take(self, piece: str) -> None:
        if piece == "\r":
            self.column = 0
        elif piece == "\n":
            self._down()
        elif piece == "\x1b[J":
            self.lines[self.row] = self.lines[self.row][: self.column]
            del self.lines[self.row + 1 :]
        elif piece.startswith("\x1b["):
            assert piece[-1] in "Am", piece
            if piece[-1] == "A":
                self.row = max(0, self.row - int(piece[2:-1] or 1))
        else:
            for sign in piece:
                if self.column == self.columns:
                    self._down()
                line = self.lines[self.row].ljust(self.column)
                self.lines[self.row] = line[: self.column] + sign + line[self.column + 1 :]
                self.column += 1

    def _down(self) -> None:
        self.row, self.column = self.row + 1, 0
        if self.row == len(self.lines):
            self.lines.append("")
