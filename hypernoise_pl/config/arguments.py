"""The arguments that an object was built with, kept for adapters and run folders."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar, Self


class KeepsArguments:
    """A class whose instances keep the arguments that they were built with.

    Attributes:
        arguments: arguments of an instance by name, without private ones.
        neutral: names of arguments that change no figure, such as those of memory and speed.
    """

    neutral: ClassVar[tuple[str, ...]] = ()
    arguments: dict[str, Any]

    def __new__(cls, *positional: Any, **named: Any) -> Self:
        """Build an instance and keep its arguments."""
        made = super().__new__(cls)
        signature = inspect.signature(cls.__init__)
        given = signature.bind_partial(made, *positional, **named).arguments
        others = [p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD]
        given |= {key: value for name in others for key, value in given.pop(name, {}).items()}
        kept = {key: value for key, value in list(given.items())[1:] if not key.startswith("_")}
        # of a subclass of str the text alone is kept
        plain = {key: str(value) if isinstance(value, str) else value for key, value in kept.items()}
        made.__dict__["arguments"] = plain
        return made
