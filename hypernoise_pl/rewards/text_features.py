"""Features of prompts, kept: in training and search the same prompts come back, and their features do not change."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class TextFeatureCache:
    """Remembers the features of every text, on the CPU, the most recently used first to stay.

    Args:
        encode: texts -> [B, D].
        limit: texts to keep at the most; those of ViT-H take 4 KiB each.
        at_once: texts encoded in one call.
    """

    def __init__(self, encode: Callable[[list[str]], Tensor], limit: int = 65_536, at_once: int = 256) -> None:
        self._encode, self._limit, self._at_once = encode, limit, at_once
        self._kept: OrderedDict[str, Tensor] = OrderedDict()

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> Tensor:
        """[B, D] features of texts, encoding only those not kept."""
        new = [text for text in dict.fromkeys(texts) if text not in self._kept]
        for start in range(0, len(new), self._at_once):
            part = new[start : start + self._at_once]
            self._kept.update(zip(part, self._encode(part).cpu(), strict=True))
        for text in texts:
            self._kept.move_to_end(text)
        # a stack of rows that an evaluation in inference mode has made may be differentiated through all the same
        found = torch.stack([self._kept[text] for text in texts])
        while len(self._kept) > self._limit:
            self._kept.popitem(last=False)
        return found

    def __contains__(self, text: str) -> bool:
        return text in self._kept

    def __len__(self) -> int:
        return len(self._kept)
