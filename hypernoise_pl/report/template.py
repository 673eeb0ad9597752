"""The HTML pages' templates, which share one style sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader


def render(name: str, **values: Any) -> str:
    """A page.

    Args:
        name: template, a file beside this module.
        **values: what stands in it; text is escaped, ``Markup`` is not.
    """
    loader = FileSystemLoader(Path(__file__).parent, encoding="utf-8")
    return Environment(autoescape=True, loader=loader).get_template(name).render(**values)
