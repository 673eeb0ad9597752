"""Encoded prompts, kept: a prompt set is small and is read many times, a text encoder is large."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch

from hypernoise_pl.generators.conditioning_store import PromptCache
from hypernoise_pl.types import Conditioning


class ConditioningCache:
    """Remembers the conditioning of every text, the most recently used first to stay.

    Args:
        encode: texts -> conditioning, as ``Generator.encode``.
        gib: memory to use at the most.
        at_once: texts encoded in one call.
        disk: where texts were encoded before; only those that it lacks are encoded, after a warning. What is read from
            there is kept in the CPU's memory.
    """

    def __init__(
        self,
        encode: Callable[[Sequence[str]], Conditioning],
        gib: float = 1.0,
        at_once: int = 256,
        disk: PromptCache | None = None,
    ) -> None:
        self._encode, self._bytes, self._at_once, self.disk = encode, int(gib * 2**30), at_once, disk
        self._kept: OrderedDict[str, Conditioning] = OrderedDict()
        self._told = False

    def __call__(self, texts: Sequence[str]) -> Conditioning:
        """The conditioning of texts, encoding only those not kept."""
        new = self._unread([text for text in dict.fromkeys(texts) if text not in self._kept])
        for start in range(0, len(new), self._at_once):
            part = new[start : start + self._at_once]
            encoded = self._encode(part)
            encoded = encoded if self.disk is None else encoded.map(lambda tensor: tensor.cpu())
            for row, text in enumerate(part):
                self._kept[text] = encoded.map(lambda tensor: tensor[row : row + 1].clone())  # noqa: B023 - used here
        for text in texts:
            self._kept.move_to_end(text)
        found = Conditioning.cat([self._kept[text] for text in texts])
        while len(self._kept) > 1 and len(self._kept) * self._row_bytes() > self._bytes:
            self._kept.popitem(last=False)
        return found

    def _unread(self, new: list[str]) -> list[str]:
        """The texts that the disk does not have either; those that it has are kept from now on."""
        if self.disk is None or not new:
            return new
        found = self.disk.read(new)
        self._kept.update(found)
        missing = [text for text in new if text not in found]
        if missing and not self._told:
            self._told = True  # once: a run whose cache lacks many would say so at every step
            warnings.warn(
                f"prompt cache {self.disk.folder}: {missing[0]!r} ({len(missing)} of {len(new)} prompts) is not in it; "
                "text encoders go to the device for it (python -m hypernoise_pl cache-prompts encodes all beforehand)",
                stacklevel=3,
            )
        return missing

    def _row_bytes(self) -> int:
        sizes: list[int] = []

        def weigh(tensor: torch.Tensor) -> torch.Tensor:
            sizes.append(tensor.nbytes)
            return tensor

        next(reversed(self._kept.values())).map(weigh)
        return sum(sizes)
