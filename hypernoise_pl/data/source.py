"""Where prompts come from: one published set, or one file, of the several that a run trains or tests on."""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from hypernoise_pl.types import Prompt

Found = TypeVar("Found")


class SeveralErrors(ValueError):
    """More than one thing is wrong with prompts.

    Args:
        errors: what is wrong, each once.
    """

    def __init__(self, errors: list[str]) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


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


def call_all(work: Iterable[Callable[[], Found]]) -> list[Found]:
    """What each of several readings returns, in their order.

    Raises:
        OSError, ValueError: if one reading fails, what it raises.
        SeveralErrors: if more do, once all have been tried.
    """
    found: list[Found] = []
    errors: dict[str, Exception] = {}
    for read in work:
        try:
            found.append(read())
        except (OSError, ValueError) as error:
            errors.setdefault(" ".join(str(error).split()), error)
    if len(errors) == 1:
        raise next(iter(errors.values()))
    if errors:
        raise SeveralErrors([*errors])
    return found


def normalised(text: str) -> str:
    """A prompt without what does not make it another: case, accents' encoding, punctuation, spaces.

    Letters and digits of every script stay; what stands between them becomes one space.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return re.sub(r"[\W_]+", " ", folded).strip()
