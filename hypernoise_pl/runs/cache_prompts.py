"""``cache-prompts``: encode every prompt of a run beforehand."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from hypernoise_pl.config.options import Options
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.generators.base import Generator
from hypernoise_pl.generators.conditioning_store import PromptCache
from hypernoise_pl.progress import Steps
from hypernoise_pl.system.threads import following_load

SHARD = 64  # prompts encoded together and written as one file: some 100 MB for the largest text encoders


def without_rewards(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run's configuration, but for the rewards, the judge and the search, which prompts are encoded without.

    Raises:
        ConfigError: if nothing says where encoded prompts are to go.
    """
    arguments = config["model"]["init_args"]
    if arguments.get("prompt_cache") is None:
        raise ConfigError("cache-prompts: into which folder? give --model.prompt_cache=DIR, here as for fit")
    none = {"rewards": {"none": {"class_path": "hypernoise_pl.rewards.pixels.Brightness"}}}
    arguments = arguments | none | {"reward_weights": {"none": 0.0}, "reference": None}
    return {**config, "judge": None, "model": {**config["model"], "init_args": arguments}}


def cache_prompts(cli: Any, options: Options) -> None:
    """Encode the prompts of all three splits into ``model.prompt_cache``."""
    model = cli.model
    cache = model.encode.disk
    device = cli.trainer.strategy.root_device
    if device.type == "cuda" and "LOCAL_RANK" in os.environ:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    every = [prompt.text for split in ("train", "validation", "test") for prompt in cli.datamodule.prompts(split)]
    encoded, size = fill(cache, model.generator, list(dict.fromkeys(every)), device=device)
    options.result = {"encoded": encoded, "bytes": size, "there": len(cache.look()), "folder": str(cache.folder)}
    rate = f", {size / encoded / 2**10:.0f} KiB each" if encoded else ""
    print(f"cache-prompts: {encoded} prompts encoded{rate}; {len(cache.look())} are in {cache.folder}")


def fill(
    cache: PromptCache,
    generator: Generator,
    texts: Sequence[str],
    shard: int = SHARD,
    device: torch.device | None = None,
) -> tuple[int, int]:
    """Encode those texts that a cache lacks, on a device to which only the text encoders go.

    Stopped at any moment, it loses one shard. Other processes may do the same at once: each takes the shards in an
    order of its own, and leaves out what it finds written.

    Returns:
        Prompts encoded here, and their size in bytes.
    """
    there = cache.look()
    missing = [text for text in texts if text not in there]
    parts = [missing[start : start + shard] for start in range(0, len(missing), shard)]
    random.Random(os.getpid()).shuffle(parts)
    encoded = size = 0

    def note() -> str:
        return f"{size / 2**30:.2f} GiB written"

    with (
        generator.text_encoders_at_hand(device),
        Steps("cache-prompts", len(texts), "prompts", len(texts) - len(missing), note) as steps,
    ):
        for part in following_load(parts):
            there = cache.look()
            left = [text for text in part if text not in there]
            if left:
                size += cache.write(left, generator.encode(left))
                encoded += len(left)
            steps.advance(len(part))
    return encoded, size
