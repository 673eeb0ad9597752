"""The form a language model's answer must have, as a request states it and as the answer is checked."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class AnswerSchema:
    """What an answer must be: a flat JSON object of exactly these fields.

    Args:
        name: of the form, letters and underscores.
        fields: name -> what is to stand there, in words.
        bounds: smallest and largest number; None where the fields are texts.
    """

    name: str
    fields: Mapping[str, str]
    bounds: tuple[float, float] | None = None

    def response_format(self) -> dict[str, Any]:
        """The form as a request states it. Bounds are left to ``check``: not every server takes them in a schema."""
        kind = "string" if self.bounds is None else "number"
        schema = {
            "type": "object",
            "properties": {name: {"type": kind, "description": text} for name, text in self.fields.items()},
            "required": list(self.fields),
            "additionalProperties": False,
        }
        return {"type": "json_schema", "json_schema": {"name": self.name, "strict": True, "schema": schema}}

    def read(self, text: str) -> dict[str, Any]:
        """The answer that a text holds.

        Raises:
            ValueError: if it is not JSON, or not of this form.
        """
        try:
            return self.check(json.loads(text))
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON: {error}") from error

    def check(self, answer: Any) -> dict[str, Any]:
        """The answer, if it is of this form.

        Raises:
            ValueError: with the first thing that is wrong.
        """
        if not isinstance(answer, dict) or set(answer) != set(self.fields):
            found = sorted(answer) if isinstance(answer, dict) else type(answer).__name__
            raise ValueError(f"wanted the fields {sorted(self.fields)}, got {found}")
        for name, value in answer.items():
            if self.bounds is None:
                if not isinstance(value, str) or not value.strip():
                    raise ValueError(f"{name} must be a text, got {value!r}")
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ValueError(f"{name} must be a number, got {value!r}")
            if not self.bounds[0] <= value <= self.bounds[1]:
                raise ValueError(f"{name} must be in {list(self.bounds)}, got {value}")
        return answer
