"""Parsed prompts of T2I-CompBench: noun chunks, objects, and the prompt without adjectives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypernoise_pl.metrics.compbench.chunks import MOST, noun_chunks, words


@dataclass(frozen=True)
class ParsedPrompt:
    """A parsed prompt.

    Args:
        chunks: noun chunks, at most 8.
        objects: two objects of a spatial relation; None if there are not two.
        plain: prompt without adjectives; None if unknown.
    """

    chunks: list[str]
    objects: tuple[str, str] | None = None
    plain: str | None = None


class ParsedPrompts(dict[str, ParsedPrompt]):
    """Prompt -> parsed prompt; a prompt that is missing is parsed by ``noun_chunks``."""

    def __missing__(self, prompt: str) -> ParsedPrompt:
        """Parse a missing prompt by rules."""
        return ParsedPrompt(noun_chunks(prompt))


def read_parses(file: str | None) -> ParsedPrompts:
    """Read a JSON file of prompts parsed by spaCy.

    Args:
        file: JSON: prompt -> list of its noun chunks, ``[chunk.text for chunk in nlp(prompt).noun_chunks]``; or, as
            ``complex`` needs it, an object of ``chunks``, ``objects`` (the nouns before and after the words of place;
            null if there are not two) and ``plain`` (words that are no adjectives, with spaces between). None for no
            file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not JSON, or an entry is of another form; with the prompt.
    """
    if file is None:
        return ParsedPrompts()
    where = f"noun chunks {file}"
    try:
        found = json.loads(Path(file).read_text("utf-8-sig"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{where}: no such file") from None
    except ValueError as error:
        raise ValueError(f"{where}: not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{where}: needs an object of prompts")
    return ParsedPrompts({prompt: _parsed(entry, f"{where}, prompt {prompt!r}") for prompt, entry in found.items()})


def _parsed(entry: Any, where: str) -> ParsedPrompt:
    fields: Mapping[str, Any] = {"chunks": entry} if isinstance(entry, list) else entry
    if not isinstance(fields, dict) or {*fields} - {"chunks", "objects", "plain"}:
        raise ValueError(f"{where}: needs a list of chunks, or an object of chunks, objects and plain")
    chunks, objects, plain = (fields.get(key) for key in ("chunks", "objects", "plain"))
    if not isinstance(chunks, list) or not _are_texts(chunks):
        raise ValueError(f"{where}: 'chunks' must be a list of texts, got {chunks!r}")
    if objects is not None and not (_are_texts(objects) and len(objects) == 2):
        raise ValueError(f"{where}: 'objects' must be two texts or null, got {objects!r}")
    if plain is not None and not isinstance(plain, str):
        raise ValueError(f"{where}: 'plain' must be a text or null, got {plain!r}")
    asked = [chunk for chunk in chunks if chunk not in words()["skipped"]][:MOST]
    return ParsedPrompt(asked, None if objects is None else (objects[0], objects[1]), plain)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) and each.strip() for each in value)
