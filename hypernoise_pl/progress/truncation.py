"""Counts the prompts that are longer than a text encoder's input, and warns about the first of them."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

_COLLECTED: ContextVar[list[Truncation] | None] = ContextVar("collected", default=None)


class Truncation:
    """Counts the distinct prompts that a text encoder reads, and those that it truncates.

    The first truncated prompt raises a warning; the others are only counted.

    Args:
        reader: name of the encoder's owner, for messages.
    """

    def __init__(self, reader: str) -> None:
        self.reader, self.length = reader, 0
        self._read: set[int] = set()  # hashes, because a prompt set may have millions of texts
        self._cut: set[int] = set()
        collected = _COLLECTED.get()
        if collected is not None:
            collected.append(self)

    def check(self, tokenizer: Any, prompts: Sequence[str], length: int, texts: Sequence[str] | None = None) -> None:
        """Count new prompts.

        Args:
            tokenizer: tokenizer of transformers.
            prompts: prompts of the user.
            length: number of tokens that the encoder reads, special tokens included.
            texts: tokenized text of each prompt; None for the prompt itself.
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

    def summary(self) -> str | None:
        """The number of truncated prompts in one line; None if there are none."""
        if not self._cut:
            return None
        cut, read = len(self._cut), len(self._read)
        return (
            f"{self.reader}: {cut} of {read} prompts ({100 * cut / read:.3g} %) are longer than the {self.length} "
            "tokens it reads; the rest of them is not seen"
        )

    def _warn(self, tokenizer: Any, prompt: str, ids: list[int], length: int) -> None:
        ends = ids[-1] in tokenizer.all_special_ids  # the end token takes one of the places
        cut = tokenizer.decode(ids[length - ends :], skip_special_tokens=True)
        warnings.warn(
            f"{self.reader}: prompt {prompt!r} has {len(ids)} tokens, it reads {length}; not read: {cut.strip()!r}; "
            "further prompts that are cut are counted, not shown",
            stacklevel=4,
        )


@contextlib.contextmanager
def collect_truncations() -> Iterator[list[Truncation]]:
    """Collect every ``Truncation`` that is created inside the block."""
    truncations: list[Truncation] = []
    token = _COLLECTED.set(truncations)
    try:
        yield truncations
    finally:
        _COLLECTED.reset(token)
