"""The JSON schema of a language model's answer: sent with the request, and checked on the answer."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class AnswerSchema:
    """A flat JSON object with exactly these fields, all texts or all numbers.

    Args:
        name: name of the schema; letters and underscores.
        fields: name -> description of the field.
        bounds: smallest and largest number; None for text fields.
    """

    name: str
    fields: Mapping[str, str]
    bounds: tuple[float, float] | None = None

    def response_format(self) -> dict[str, Any]:
        """The ``response_format`` of a request. It omits the bounds, because not every server accepts them."""
        json_type = "string" if self.bounds is None else "number"
        schema = {
            "type": "object",
            "properties": {name: {"type": json_type, "description": text} for name, text in self.fields.items()},
            "required": list(self.fields),
            "additionalProperties": False,
        }
        return {"type": "json_schema", "json_schema": {"name": self.name, "strict": True, "schema": schema}}

    def parse(self, text: str) -> dict[str, Any]:
        """Parse the text of an answer.

        Raises:
            ValueError: if the text is not JSON, or does not match the schema.
        """
        try:
            return self.check(json.loads(text))
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON: {error}") from error

    def check(self, answer: Any) -> dict[str, Any]:
        """Return an answer that matches the schema.

        Raises:
            ValueError: with the first mismatch.
        """
        if not isinstance(answer, dict) or set(answer) != set(self.fields):
            keys = sorted(answer) if isinstance(answer, dict) else type(answer).__name__
            raise ValueError(f"expected the fields {sorted(self.fields)}, got {keys}")
        for name, value in answer.items():
            if self.bounds is None:
                if not isinstance(value, str) or not value.strip():
                    raise ValueError(f"{name} must be a non-empty text, got {value!r}")
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ValueError(f"{name} must be a finite number, got {value!r}")
            if not self.bounds[0] <= value <= self.bounds[1]:
                raise ValueError(f"{name} must be in {list(self.bounds)}, got {value}")
        return answer
