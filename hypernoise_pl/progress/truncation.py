"""Prompts longer than a text encoder reads: counted, the first one shown, their share said at the end of a run."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

_COUNTED: ContextVar[list[Truncation] | None] = ContextVar("counted", default=None)


class Truncation:
    """Counts the distinct prompts that one text encoder reads, and those of them that it cuts.

    The first prompt that is cut gives a warning; the others are counted.

    Args:
        reader: name of the encoder's owner, for messages.
    """

    def __init__(self, reader: str) -> None:
        self.reader, self.length = reader, 0
        self._read: set[int] = set()  # hashes, for a prompt set may have millions of texts
        self._cut: set[int] = set()
        counted = _COUNTED.get()
        if counted is not None:
            counted.append(self)

    def check(self, tokenizer: Any, prompts: Sequence[str], length: int, texts: Sequence[str] | None = None) -> None:
        """Count prompts that were not read before.

        Args:
            tokenizer: tokenizer of transformers.
            prompts: prompts as the user wrote them.
            length: tokens that are read, the special ones included.
            texts: what is tokenized for each prompt; the prompt itself if left out.
        """
        new = {
            hash(prompt): (prompt, text)
            for prompt, text in zip(prompts, prompts if texts is None else texts, strict=True)
            if hash(prompt) not in self._read
        }
        if not new:
            return
        self.length = max(length, self.length)
        self._read.update(new)
        tokens = tokenizer([text for _, text in new.values()], verbose=False).input_ids
        for (key, (prompt, _)), ids in zip(new.items(), tokens, strict=True):
            if len(ids) > length:
                if not self._cut:
                    self._warn(tokenizer, prompt, ids, length)
                self._cut.add(key)

    def share(self) -> str | None:
        """How many prompts were cut, in one line; None if there was none."""
        if not self._cut:
            return None
        cut, read = len(self._cut), len(self._read)
        return (
            f"{self.reader}: {cut} of {read} prompts ({100 * cut / read:.3g} %) are longer than the {self.length} "
            "tokens it reads; the rest of them is not seen"
        )

    def _warn(self, tokenizer: Any, prompt: str, ids: list[int], length: int) -> None:
        ends = ids[-1] in tokenizer.all_special_ids  # an end token keeps its place, so one word less is read
        cut = tokenizer.decode(ids[length - ends :], skip_special_tokens=True)
        warnings.warn(
            f"{self.reader}: prompt {prompt!r} has {len(ids)} tokens, it reads {length}; not read: {cut.strip()!r}; "
            "further prompts that are cut are counted, not shown",
            stacklevel=4,
        )


@contextlib.contextmanager
def counted() -> Iterator[list[Truncation]]:
    """Collect every ``Truncation`` that is made within this block."""
    found: list[Truncation] = []
    token = _COUNTED.set(found)
    try:
        yield found
    finally:
        _COUNTED.reset(token)
