"""Checks of a configuration's keys and values against their types."""

from __future__ import annotations

import contextlib
import typing
from typing import Any

from hypernoise_pl.config.signatures import ConfigError, union_members
from hypernoise_pl.types import did_you_mean

IN_WORDS = {int: "a whole number", float: "a number"}


def check_key(key: str, known: Any, where: str, owner: str = "") -> None:
    """Check that a key is known.

    Args:
        key: key to check.
        known: names that are allowed.
        where: dotted key of the mapping, for the error.
        owner: `` of CLASS`` for the error, where the keys are a class's arguments.

    Raises:
        ConfigError: naming the key and the nearest right one.
    """
    if key not in known:
        raise ConfigError(f"{where}{': ' if where else ''}no key is called {key!r}{owner}{did_you_mean(key, known)}")


def check_value(value: Any, hint: Any, where: str) -> None:
    """Check that no text stands in place of a number or of certain words, and no fraction in place of a whole number.

    Args:
        value: value to check.
        hint: its type.
        where: its dotted key, for the error.

    Raises:
        ConfigError: naming the value and the expected type.
    """
    wanted = [option for option in union_members(hint) if option is not type(None)]
    words = [
        str(word)
        for option in wanted
        if typing.get_origin(option) is typing.Literal
        for word in typing.get_args(option)
    ]
    numbers = [IN_WORDS[option] for option in wanted if option in IN_WORDS]
    simple = wanted and all(option in IN_WORDS or typing.get_origin(option) is typing.Literal for option in wanted)
    fraction = isinstance(value, float) and wanted == [int]
    if not simple or not (fraction or isinstance(value, str)) or "${" in str(value) or value in words:
        return
    if numbers and not fraction:
        with contextlib.suppress(ValueError):
            float(value)
            return
    known = [*dict.fromkeys(words)]
    one_of = [f"one of {', '.join(known)}"] if known else []
    raise ConfigError(
        f"{where}{': ' if where else ''}got {value!r}; give {' or '.join([*numbers, *one_of])}"
        f"{did_you_mean(str(value), known)}"
    )
