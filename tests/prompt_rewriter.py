"""Replies of a language model that rewrites prompts, for the server in ``tests/chat_server.py``."""

import json
import re
from typing import Any

from tests.chat_server import Reply


def parse_request(body: dict[str, Any]) -> tuple[str, list[tuple[float, str]], int]:
    """The prompt in a request, the (score, reading) pairs that it shows, and the number of rewrites that it asks for."""
    lines = body["messages"][1]["content"].split("\n")
    shown = [(float(score), json.loads(text)) for score, text in (line.split("  ", 1) for line in lines[2:-1])]
    return json.loads(lines[0].partition(": ")[2]), shown, int(re.findall(r"\d+", lines[-1])[0])


def lengthen(body: dict[str, Any]) -> Reply:
    """The best reading so far, longer by 1, 2, ... letters."""
    _, shown, count = parse_request(body)
    names = _names(body)
    assert len(names) == count
    return Reply(json.dumps({name: shown[0][1] + "x" * (index + 1) for index, name in enumerate(names)}))


def repeat(body: dict[str, Any]) -> Reply:
    """The prompt itself."""
    prompt, _, _ = parse_request(body)
    return Reply(json.dumps({name: prompt for name in _names(body)}))


def _names(body: dict[str, Any]) -> list[str]:
    names: list[str] = body["response_format"]["json_schema"]["schema"]["required"]
    return names
