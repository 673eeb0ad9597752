"""Encoded prompts, kept: a prompt set is small and is read many times, a text encoder is large."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch

from hypernoise_pl.types import Conditioning


class ConditioningCache:
    """Remembers the conditioning of every text, the most recently used first to stay.

    Args:
        encode: texts -> conditioning, as ``Generator.encode``.
        gib: memory to use at the most.
        at_once: texts encoded in one call.
    """

    def __init__(self, encode: Callable[[Sequence[str]], Conditioning], gib: float = 1.0, at_once: int = 256) -> None:
        self._encode, self._bytes, self._at_once = encode, int(gib * 2**30), at_once
        self._kept: OrderedDict[str, Conditioning] = OrderedDict()

    def __call__(self, texts: Sequence[str]) -> Conditioning:
        """The conditioning of texts, encoding only those not kept."""
        new = [text for text in dict.fromkeys(texts) if text not in self._kept]
        for start in range(0, len(new), self._at_once):
            part = new[start : start + self._at_once]
            encoded = self._encode(part)
            for row, text in enumerate(part):
                self._kept[text] = encoded.map(lambda tensor: tensor[row : row + 1].clone())  # noqa: B023 - used here
        for text in texts:
            self._kept.move_to_end(text)
        found = Conditioning.cat([self._kept[text] for text in texts])
        while len(self._kept) > 1 and len(self._kept) * self._row_bytes() > self._bytes:
            self._kept.popitem(last=False)
        return found

    def _row_bytes(self) -> int:
        sizes: list[int] = []

        def weigh(tensor: torch.Tensor) -> torch.Tensor:
            sizes.append(tensor.nbytes)
            return tensor

        next(reversed(self._kept.values())).map(weigh)
        return sum(sizes)
