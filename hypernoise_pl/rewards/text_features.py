"""A cache of text features: training and search score the same prompts again and again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class TextFeatureCache:
    """Least-recently-used cache of text features, on the CPU.

    Args:
        encode: function from texts to features [B, D].
        limit: largest number of texts; the features of ViT-H take 4 KiB per text.
        batch_size: texts encoded in one call.
    """

    def __init__(self, encode: Callable[[list[str]], Tensor], limit: int = 65_536, batch_size: int = 256) -> None:
        self._encode, self._limit, self._batch_size = encode, limit, batch_size
        self._cached: OrderedDict[str, Tensor] = OrderedDict()

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> Tensor:
        """[B, D] features of texts; only texts outside the cache are encoded."""
        new = [text for text in dict.fromkeys(texts) if text not in self._cached]
        for start in range(0, len(new), self._batch_size):
            part = new[start : start + self._batch_size]
            self._cached.update(zip(part, self._encode(part).cpu(), strict=True))
        for text in texts:
            self._cached.move_to_end(text)
        # rows may come from inference mode; their stack is a new tensor that autograd accepts
        features = torch.stack([self._cached[text] for text in texts])
        while len(self._cached) > self._limit:
            self._cached.popitem(last=False)
        return features

    def __contains__(self, text: str) -> bool:
        return text in self._cached

    def __len__(self) -> int:
        return len(self._cached)
