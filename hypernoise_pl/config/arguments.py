"""What an object was built with, kept beside it: what adapters and run folders remember of their parts."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar, Self


class KeepsArguments:
    """A class whose instances know what they were built with, whether by a configuration or in Python.

    Attributes:
        arguments: what an instance was given, by name; private ones are left out.
        neutral: names of arguments that change no figure: those of memory, speed and where copies are kept.
    """

    neutral: ClassVar[tuple[str, ...]] = ()
    arguments: dict[str, Any]

    def __new__(cls, *positional: Any, **named: Any) -> Self:
        """Keep the arguments beside what they build."""
        made = super().__new__(cls)
        signature = inspect.signature(cls.__init__)
        given = signature.bind_partial(made, *positional, **named).arguments
        others = [p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD]
        given |= {key: value for name in others for key, value in given.pop(name, {}).items()}
        kept = {key: value for key, value in list(given.items())[1:] if not key.startswith("_")}
        made.__dict__["arguments"] = kept
        return made
