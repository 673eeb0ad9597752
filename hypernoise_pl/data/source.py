"""The contract of prompt sources: files, folders and data sets of prompts."""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from hypernoise_pl.types import Prompt

Result = TypeVar("Result")


class SeveralErrors(ValueError):
    """Several errors in prompt sources.

    Args:
        errors: distinct messages.
    """

    def __init__(self, errors: list[str]) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


class PromptSource(ABC):
    """A set of prompts in a file, a folder or a data set of the hub."""

    @abstractmethod
    def read(self, folder: Path) -> list[Prompt]:
        """Read all prompts in the order of the source.

        Args:
            folder: folder at which relative paths start.

        Raises:
            FileNotFoundError: if a file is missing.
            ValueError: if a file is invalid; with the file and the line number.
        """

    @abstractmethod
    def check(self, folder: Path) -> None:
        """Raise the errors of ``read`` that need no long reading, such as a missing file."""


def call_all(work: Iterable[Callable[[], Result]]) -> list[Result]:
    """Call all functions and return their results; errors are raised after the last call.

    Raises:
        OSError, ValueError: the error of a call, if only one message occurred.
        SeveralErrors: if several calls failed.
    """
    results: list[Result] = []
    errors: dict[str, Exception] = {}
    for function in work:
        try:
            results.append(function())
        except (OSError, ValueError) as error:
            errors.setdefault(" ".join(str(error).split()), error)
    if len(errors) == 1:
        raise next(iter(errors.values()))
    if errors:
        raise SeveralErrors([*errors])
    return results


def normalised(text: str) -> str:
    """Normal form of a prompt, to compare prompts: case folded, Unicode-normalised, words separated by one space.

    Letters and digits of all scripts are kept; every other character separates words.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return re.sub(r"[\W_]+", " ", folded).strip()
