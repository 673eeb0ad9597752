"""Values of settings as text: for flags, for files and for people."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml


def format_value(value: Any) -> str:
    """Format a value as one line of YAML, as a flag takes it."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}" if float(f"{value:.6g}") == value else repr(value)
    return "null" if value is None else json.dumps(value)


def parse_value(text: str) -> Any:
    """Parse a flag's text as YAML; text that is not YAML stays as it is."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def as_flags(settings: Mapping[str, Any]) -> list[str]:
    """Settings as arguments of a command line."""
    return [f"--{name}={format_value(value)}" for name, value in settings.items()]


def short_value(value: Any) -> str:
    """Format a value for people: numbers have four digits."""
    return f"{value:.4g}" if isinstance(value, float) else format_value(value)


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Map each name to its last part; a name whose last part is not unique maps to itself."""
    full_names = list(names)
    last_parts = [re.split("[./]", name)[-1] for name in full_names]
    return {
        name: part if last_parts.count(part) == 1 else name for name, part in zip(full_names, last_parts, strict=True)
    }


def describe(values: Mapping[str, Any]) -> str:
    """Settings in one line, for people."""
    names = short_names(values)
    return ", ".join(f"{names[name]} {short_value(value)}" for name, value in values.items())
