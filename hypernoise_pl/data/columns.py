"""Which column of a table, or key of a row, holds the prompt and which its tag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypernoise_pl.types import nearest

PROMPT, TAG = ("prompt", "caption", "text"), ("tag", "category")  # looked for in this order, in any letter case
PROMPTS = tuple(f"{name}s" for name in PROMPT)  # what tables call a column of them too, as DrawBench's does
NUMBER = "id"


@dataclass(frozen=True)
class Columns:
    """Names of columns.

    Args:
        prompt: column of the prompts; None for the first of ``PROMPT`` that there is; in a table also of
            ``PROMPTS``.
        tag: column of the tags; None for the first of ``TAG`` that there is, or for none.
    """

    prompt: str | None = None
    tag: str | None = None

    def among(self, names: Sequence[str], where: str) -> tuple[str, str | None, str | None]:
        """The columns of prompt, tag and id among those that there are.

        Args:
            names: columns or keys.
            where: file, and line where it has one, for messages.

        Raises:
            ValueError: if there is no column of prompts, none of the name that was given, or two of one name.
        """
        prompt = self.prompt or find_name((*PROMPT, *PROMPTS), names)
        if prompt is None:
            known = ", ".join(map(repr, names)) or "none"
            raise ValueError(
                f"{where}: no column is called {PROMPT[0]!r}{nearest(PROMPT[0], names)}; it has {known}; rename one, "
                "or name it with PromptFile's column"
            )
        found = prompt, self.tag or find_name(TAG, names), find_name((NUMBER,), names)
        for name in found:
            if name is not None and name not in names:
                known = ", ".join(names) or "none"
                raise ValueError(f"{where}: no column is called {name!r}{nearest(name, names)}; it has {known}")
            if list(names).count(name or "") > 1:
                raise ValueError(f"{where}: two columns are called {name!r}")
        return found


def find_name(wanted: Sequence[str], names: Sequence[str]) -> str | None:
    """The first of the wanted names that there is: as it is written, or in another letter case."""
    lower = {name.lower(): name for name in reversed(names)}
    return next((name if name in names else lower[name] for name in wanted if name in lower), None)


def clean_tag(value: Any) -> str:
    """A tag as it stands in a file: without spaces around it, which would make it another; a number is one, 0 too."""
    return "" if value is None else str(value).strip()
