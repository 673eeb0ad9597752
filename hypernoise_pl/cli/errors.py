"""Errors as one line, without the text that the parser puts around the cause. Standard library only."""

from __future__ import annotations

import re

# errors that name their cause in words; others are printed with their class
_IN_WORDS = ("MisconfigurationException", "NonFiniteError")


def one_line(error: Exception) -> str:
    """An error as one line; an unexpected one with its class."""
    if type(error).__name__ == "ConfigError":
        return str(error)  # its lines, if it has several, are a list
    text = first_cause(error)
    in_words = isinstance(error, (ValueError, OSError)) or type(error).__name__ in _IN_WORDS
    return text if in_words and text else f"{type(error).__name__}: {text}; --verbose shows where"


def first_cause(error: BaseException) -> str:
    """The message that a class raised, in one line, without the parser's text around it."""
    text = " ".join(str(error).split())
    wrapped = re.search(r"Errors: - (.*?) - Expected a <class 'NoneType'>", text)
    return wrapped.group(1) if wrapped else re.sub(r"( - Expected a <class '[^']+'>)+ *$", "", text)


def causes(error: BaseException) -> list[str]:
    """The messages that a class raised, a line for each thing that is wrong."""
    from hypernoise_pl.data.source import SeveralErrors

    link: BaseException | None = error
    visited: set[int] = set()
    while link is not None and id(link) not in visited:
        if isinstance(link, SeveralErrors):
            return link.errors
        visited.add(id(link))
        link = link.__cause__ or link.__context__
    return [first_cause(error)]


def type_error(text: str, within: str = "", prefix: str = "") -> str:
    """Jsonargparse's error about a value's type in one line: the key, and the type that it needs.

    jsonargparse lists every type of a union that it tried, over many lines; the first line that names a type other than
    None is kept. No attribute of the error has these parts.

    Args:
        text: message of the error.
        within: key that leads every key of the error, and that jsonargparse leaves out in some messages.
        prefix: characters before the key, such as ``--``.
    """
    keys = [key for key in re.findall(r'(?:Parser key|Key) "([^"]+)"', text) if key != within]
    lines = [line.strip(" -") for line in text.splitlines()]
    about_types = [
        line for line in lines if line and not re.match(r"Parser key|Does not|Subtypes|Errors|Problem|Given", line)
    ]
    expected = [line for line in about_types if "NoneType" not in line] or about_types or lines
    key = ".".join(dict.fromkeys([*([within] if within else []), *keys]))
    return f"{prefix}{key}: {expected[0]}" if key else expected[0]
