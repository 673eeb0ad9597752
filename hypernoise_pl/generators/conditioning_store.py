"""Encoded prompts on disk: encoded once for all runs, and text encoders never on the device while training."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.system.files import whole
from hypernoise_pl.types import Conditioning

_SETTINGS = ("max_sequence_length", "instruction")  # of a generator, that change what its prompts become
_PROBE = "A photo of 2 red foxes, left of a café's blue door."  # what tells tokenizers of one size apart
_OF_THE_FILE = ("_name_or_path", "transformers_version", "dtype", "torch_dtype")  # of a text encoder's configuration


class PromptCache:
    """Conditionings by text, in safetensors files ("shards") that are written whole or not at all.

    Any number of processes and runs may read and write one folder at once: a shard never changes once it is there, its
    name follows from its texts, and what another process has written is found at the next look.

    Args:
        folder: of one generator's shards.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shards: set[str] = set()
        self._places: dict[str, tuple[str, int]] = {}  # text -> shard and row

    def look(self) -> set[str]:
        """The texts that are there by now.

        Raises:
            NotADirectoryError: if the cache's folder is a file.
            ValueError: if a shard is damaged.
        """
        check_cache_folder(self.folder)
        for file in sorted(self.folder.glob("*.safetensors")):
            if file.name not in self._shards:
                with self._open(file.name) as shard:
                    texts = json.loads((shard.metadata() or {}).get("texts", "null"))
                    rows = {shard.get_slice(key).get_shape()[0] for key in shard.keys()}  # noqa: SIM118 - no mapping
                if not isinstance(texts, list) or rows != {len(texts)}:
                    raise ValueError(f"prompt cache {file}: no shard of a prompt cache; remove it from this folder")
                self._places |= {text: (file.name, row) for row, text in enumerate(texts)}
                self._shards.add(file.name)
        return set(self._places)

    def read(self, texts: Sequence[str]) -> dict[str, Conditioning]:
        """Text -> conditioning of one row, on the CPU, of those texts that are there."""
        if any(text not in self._places for text in texts):
            self.look()
        wanted: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for text in texts:
            if text in self._places:
                name, row = self._places[text]
                wanted[name].append((text, row))
        found: dict[str, Conditioning] = {}
        for name, rows in wanted.items():
            with self._open(name) as shard:
                slices = {key: shard.get_slice(key) for key in shard.keys()}  # noqa: SIM118 - no mapping
                for text, row in rows:
                    found[text] = Conditioning(**{key: part[row : row + 1] for key, part in slices.items()})
        return found

    def write(self, texts: Sequence[str], conditioning: Conditioning) -> int:
        """Add a shard.

        Returns:
            Its size in bytes.

        Raises:
            OSError: naming the file, if the disk is full or may not be written to.
        """
        tensors: dict[str, Tensor] = {}
        for name in ("embeddings", "mask", "pooled"):
            tensor = getattr(conditioning, name)
            if tensor is not None:
                tensors[name] = tensor.cpu().contiguous()
        listed = json.dumps(list(texts))
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{hashlib.blake2b(listed.encode(), digest_size=12).hexdigest()}.safetensors"
        data = save(tensors, {"texts": listed})
        with whole(self.folder / name) as partial:
            partial.write_bytes(data)
        return len(data)

    def _open(self, name: str) -> Any:
        if (self.folder / name).is_dir():
            raise ValueError(f"prompt cache {self.folder / name}: a folder, no shard; remove it from there")
        try:
            return safe_open(self.folder / name, "pt")
        except SafetensorError as error:
            raise ValueError(f"prompt cache {self.folder / name}: damaged file: {error}; delete it") from error


def check_cache_folder(folder: Path) -> None:
    """Raise ``NotADirectoryError`` for a file where a prompt cache's folder is wanted."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"prompt cache {folder}: a file; give a folder, which is made if need be")


def open_cache(folder: str, generator: Generator) -> PromptCache:
    """The part of a cache that is a generator's own; its text encoders leave the device for good.

    Raises:
        NotADirectoryError: if the folder is a file.
    """
    check_cache_folder(Path(folder))
    generator.offload_text_encoders()
    name = re.sub(r"[^A-Za-z0-9.]+", "-", generator.name).strip("-")[-60:]
    return PromptCache(Path(folder) / f"{name}-{fingerprint(generator)}")


@torch.no_grad()
def fingerprint(generator: Generator) -> str:
    """16 hex digits of all that decides what a generator's prompts become.

    That is its name and revision, the settings that its ``encode`` reads, its tokenizers with their words and special
    tokens, what is put around a prompt, and of every text encoder the configuration and all weights: some ten seconds
    for 10 GB of them; no weight file is read a second time.
    """
    digest = hashlib.blake2b(digest_size=8)
    settings = {name: getattr(generator, name, None) for name in _SETTINGS}
    pipeline = getattr(generator, "pipeline", None)
    parts = getattr(pipeline, "components", {})
    tokenizers = {name: part for name, part in parts.items() if name.startswith("tokenizer") and part is not None}
    reading = {name: _reading(part) for name, part in sorted(tokenizers.items())}
    around = [getattr(pipeline, name, None) for name in ("prompt_template_encode", "labels")]
    encoders = sorted(generator.text_encoders().items())
    configs = {name: _config(encoder) for name, encoder in encoders}
    described = [generator.name, settings, reading, around, configs]
    digest.update(json.dumps(described, sort_keys=True, default=str).encode())
    for encoder_name, encoder in encoders:
        for name, tensor in sorted(encoder.state_dict().items()):
            digest.update(f"{encoder_name}.{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.flatten().cpu().view(torch.uint8).numpy())
    return digest.hexdigest()


def _reading(tokenizer: Any) -> list[Any]:
    """What decides how a tokenizer reads a text."""
    names = ("model_max_length", "padding_side", "truncation_side", "chat_template", "special_tokens_map")
    settings = [getattr(tokenizer, name, None) for name in names]
    return [len(tokenizer), *settings, tokenizer(_PROBE).input_ids, sorted(tokenizer.get_vocab().items())]


def _config(encoder: Any) -> dict[str, Any] | None:
    """A text encoder's configuration, but for what says where its file is from."""
    config = getattr(encoder, "config", None)
    if config is None:
        return None
    return {name: value for name, value in config.to_dict().items() if name not in _OF_THE_FILE}
