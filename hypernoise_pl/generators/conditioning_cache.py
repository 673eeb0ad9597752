"""ConditioningCache: encoded prompts by text, in memory and optionally on disk."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch

from hypernoise_pl.generators.conditioning_store import ConditioningStore
from hypernoise_pl.types import Conditioning


class ConditioningCache:
    """Conditioning by text: from memory, else from disk, else from the text encoders.

    Memory keeps the most recently used texts. With a disk layer, memory is the CPU's, and a text that the disk lacks is
    encoded after a warning; ``cache-prompts`` writes the disk layer.

    Args:
        encode: function from texts to conditioning, such as ``Generator.encode``.
        memory_gib: largest size of the memory layer in GiB.
        batch_size: largest number of texts in one call of ``encode``.
        disk: disk layer, read only; None for none.
    """

    def __init__(
        self,
        encode: Callable[[Sequence[str]], Conditioning],
        memory_gib: float = 1.0,
        batch_size: int = 256,
        disk: ConditioningStore | None = None,
    ) -> None:
        self._encode, self._batch_size, self.disk = encode, batch_size, disk
        self._memory: OrderedDict[str, Conditioning] = OrderedDict()  # text -> one row, the last used at the end
        self._memory_bytes = int(memory_gib * 2**30)
        self._warned = False

    def __call__(self, texts: Sequence[str]) -> Conditioning:
        """The conditioning of B texts, in their order; texts that no layer has are encoded."""
        missing = self._read_disk([text for text in dict.fromkeys(texts) if text not in self._memory])
        for start in range(0, len(missing), self._batch_size):
            batch = missing[start : start + self._batch_size]
            encoded = self._encode(batch)
            encoded = encoded if self.disk is None else encoded.map(lambda tensor: tensor.cpu())
            for row, text in enumerate(batch):
                self._memory[text] = encoded.map(lambda tensor: tensor[row : row + 1].clone())  # noqa: B023 - used here
        for text in texts:
            self._memory.move_to_end(text)
        conditioning = Conditioning.cat([self._memory[text] for text in texts])
        self._evict()
        return conditioning

    def _read_disk(self, texts: list[str]) -> list[str]:
        """Read texts from disk into memory, and return those that the disk lacks; the first time, warn of them."""
        if self.disk is None or not texts:
            return texts
        rows = self.disk.read(texts)
        self._memory.update(rows)
        missing = [text for text in texts if text not in rows]
        if missing and not self._warned:
            self._warned = True  # once: a run whose cache lacks many prompts would warn at every step
            warnings.warn(
                f"prompt cache {self.disk.folder}: {missing[0]!r} ({len(missing)} of {len(texts)} prompts) is not in "
                "it; text encoders go to the device for it (python -m hypernoise_pl cache-prompts encodes all "
                "beforehand)",
                stacklevel=3,
            )
        return missing

    def _evict(self) -> None:
        """Drop the texts that were not used for the longest time until memory keeps to its size."""
        while len(self._memory) > 1 and len(self._memory) * self._row_bytes() > self._memory_bytes:
            self._memory.popitem(last=False)

    def _row_bytes(self) -> int:
        """Bytes of the row that was used last."""
        sizes: list[int] = []

        def add_size(tensor: torch.Tensor) -> torch.Tensor:
            sizes.append(tensor.nbytes)
            return tensor

        next(reversed(self._memory.values())).map(add_size)
        return sum(sizes)
