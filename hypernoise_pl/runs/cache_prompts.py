"""``cache-prompts``: encode every prompt of a run beforehand."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import Any

import torch

from hypernoise_pl.data.base import PromptDataModule, Split
from hypernoise_pl.generators.base import Generator
from hypernoise_pl.generators.conditioning_store import ConditioningStore, open_store
from hypernoise_pl.progress import Steps
from hypernoise_pl.system.threads import adaptive_threads

SHARD = 64  # prompts encoded together and written as one file: some 100 MB for the largest text encoders


def cache_prompts(
    generator: Generator, datamodule: PromptDataModule, folder: str, device: torch.device | None
) -> dict[str, Any]:
    """Encode the prompts of all three splits.

    Args:
        generator: generator whose text encoders encode them.
        datamodule: prompts.
        folder: folder of the prompt cache.
        device: device of the text encoders; None for the CPU.

    Returns:
        Counts, bytes and folder, for ``--json``.
    """
    generator.eval().requires_grad_(False)
    cache = open_store(folder, generator)
    splits: tuple[Split, ...] = ("train", "validation", "test")
    texts = dict.fromkeys(prompt.text for split in splits for prompt in datamodule.prompts(split))
    encoded, size = encode_missing(cache, generator, [*texts], device=device)
    total = len(cache.texts())
    rate = f", {size / encoded / 2**10:.0f} KiB each" if encoded else ""
    print(f"cache-prompts: {encoded} prompts encoded{rate}; {total} are in {cache.folder}")
    return {"encoded": encoded, "bytes": size, "there": total, "folder": str(cache.folder)}


def encode_missing(
    cache: ConditioningStore,
    generator: Generator,
    texts: Sequence[str],
    shard: int = SHARD,
    device: torch.device | None = None,
) -> tuple[int, int]:
    """Encode those texts that a cache lacks; only the text encoders go to the device.

    A process that is stopped loses one shard. Several processes may fill one cache at once: each takes the shards in
    an order of its own and skips those that another has written.

    Returns:
        Prompts encoded by this process, and their size in bytes.
    """
    cached = cache.texts()
    missing = [text for text in texts if text not in cached]
    parts = [missing[start : start + shard] for start in range(0, len(missing), shard)]
    random.Random(os.getpid()).shuffle(parts)
    encoded = size = 0

    def note() -> str:
        return f"{size / 2**30:.2f} GiB written"

    with (
        generator.text_encoders_on(device),
        Steps("cache-prompts", len(texts), "prompts", len(texts) - len(missing), note) as steps,
    ):
        for part in adaptive_threads(parts):
            cached = cache.texts()
            left = [text for text in part if text not in cached]
            if left:
                size += cache.write(left, generator.encode(left))
                encoded += len(left)
            steps.advance(len(part))
    return encoded, size
