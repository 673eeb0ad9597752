"""Columns of a table, or keys of a row, that hold prompt, tag and id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypernoise_pl.types import did_you_mean

PROMPT, TAG = ("prompt", "caption", "text"), ("tag", "category")  # default names in this order, in any letter case
PROMPTS = tuple(f"{name}s" for name in PROMPT)  # plural names, as in DrawBench's table
NUMBER = "id"


@dataclass(frozen=True)
class Columns:
    """Names of the columns of prompts and tags.

    Args:
        prompt: column of the prompts; None for the first existing name of ``PROMPT``, in a table also of ``PROMPTS``.
        tag: column of the tags; None for the first existing name of ``TAG``, or no tags.
    """

    prompt: str | None = None
    tag: str | None = None

    def among(self, names: Sequence[str], where: str) -> tuple[str, str | None, str | None]:
        """The columns of prompt, tag and id among the given names; None for a missing tag or id.

        Args:
            names: existing columns or keys.
            where: file and line, for messages.

        Raises:
            ValueError: if there is no prompt column, a given name does not exist, or two columns have the same name.
        """
        prompt = self.prompt or find_name((*PROMPT, *PROMPTS), names)
        if prompt is None:
            known = ", ".join(map(repr, names)) or "none"
            raise ValueError(
                f"{where}: no column is called {PROMPT[0]!r}{did_you_mean(PROMPT[0], names)}; it has {known}; rename "
                "one, or name it with PromptFile's column"
            )
        found = prompt, self.tag or find_name(TAG, names), find_name((NUMBER,), names)
        for name in found:
            if name is not None and name not in names:
                known = ", ".join(names) or "none"
                raise ValueError(f"{where}: no column is called {name!r}{did_you_mean(name, names)}; it has {known}")
            if list(names).count(name or "") > 1:
                raise ValueError(f"{where}: two columns are called {name!r}")
        return found


def find_name(wanted: Sequence[str], names: Sequence[str]) -> str | None:
    """The first wanted name among the given names, in any letter case; None if there is none."""
    lower = {name.lower(): name for name in reversed(names)}
    return next((name if name in names else lower[name] for name in wanted if name in lower), None)


def clean_tag(value: Any) -> str:
    """A tag from a file's value: the stripped text, a number as text, an empty text for None."""
    return "" if value is None else str(value).strip()
