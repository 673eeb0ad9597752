"""HTML pages from templates with a common style sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader


def render(name: str, **values: Any) -> str:
    """An HTML page.

    Args:
        name: file name of the template, beside this module.
        **values: variables of the template; text is escaped, ``Markup`` is not.
    """
    loader = FileSystemLoader(Path(__file__).parent, encoding="utf-8")
    return Environment(autoescape=True, loader=loader).get_template(name).render(**values)
