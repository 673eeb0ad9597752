"""The words of an error that tell its cause."""

from __future__ import annotations

import re


def first_cause(error: BaseException) -> str:
    """What a class has raised, in one line: the parser wraps it in a page of its own."""
    text = " ".join(str(error).split())
    wrapped = re.search(r"Errors: - (.*?) - Expected a <class 'NoneType'>", text)
    return wrapped.group(1) if wrapped else re.sub(r"( - Expected a <class '[^']+'>)+ *$", "", text)
