"""Where prompts come from: one published set, or one file, of the several that a run trains or tests on."""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from pathlib import Path

from hypernoise_pl.types import Prompt


class PromptSource(ABC):
    """A prompt set somewhere: a file, a folder, a data set of the hub."""

    @abstractmethod
    def read(self, folder: Path) -> list[Prompt]:
        """Read every prompt, in the source's own order.

        Args:
            folder: what a path that is not absolute starts from.

        Raises:
            FileNotFoundError: if a file is missing.
            ValueError: if one is not what it should be; with the file and, where it has lines, the line.
        """

    @abstractmethod
    def check(self, folder: Path) -> None:
        """Raise what ``read`` would for a file that is missing, without the time that reading may take."""


def normalised(text: str) -> str:
    """A prompt without what does not make it another: case, accents' encoding, punctuation, spaces.

    Letters and digits of every script stay; what stands between them becomes one space.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return re.sub(r"[\W_]+", " ", folded).strip()
