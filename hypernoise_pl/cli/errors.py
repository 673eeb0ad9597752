"""The words of an error that tell its cause."""

from __future__ import annotations

import re

from hypernoise_pl.data.source import SeveralErrors


def first_cause(error: BaseException) -> str:
    """What a class has raised, in one line: the parser wraps it in a page of its own."""
    text = " ".join(str(error).split())
    wrapped = re.search(r"Errors: - (.*?) - Expected a <class 'NoneType'>", text)
    return wrapped.group(1) if wrapped else re.sub(r"( - Expected a <class '[^']+'>)+ *$", "", text)


def causes(error: BaseException) -> list[str]:
    """What a class has raised, a line for each thing that is wrong."""
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        if isinstance(link, SeveralErrors):
            return link.errors
        seen.add(id(link))
        link = link.__cause__ or link.__context__
    return [first_cause(error)]
