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
from hypernoise_pl.run_folder import whole
from hypernoise_pl.types import Conditioning

_SETTINGS = ("max_sequence_length", "instruction")  # of a generator, that change what its prompts become
_PROBE = "A photo of 2 red foxes, left of a café's blue door."  # what tells tokenizers of one size apart
_SAMPLED = 64  # values of each tensor of a text encoder that its fingerprint is made of


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
                if not isinstance(texts, list):
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

    That is its name and revision, the settings that its ``encode`` reads, what its tokenizers make of a text, what is
    put around a prompt, the names of classes, and of every
    tensor of its text encoders the name, shape, precision and some values: a new revision of a model is another one,
    and no weight file is read a second time.
    """
    digest = hashlib.blake2b(digest_size=8)
    settings = {name: getattr(generator, name, None) for name in _SETTINGS}
    pipeline = getattr(generator, "pipeline", None)
    parts = getattr(pipeline, "components", {})
    tokenizers = {name: part for name, part in parts.items() if name.startswith("tokenizer") and part is not None}
    reading = {
        name: [len(part), part.model_max_length, part.chat_template, part(_PROBE).input_ids]
        for name, part in sorted(tokenizers.items())
    }
    around = [getattr(pipeline, name, None) for name in ("prompt_template_encode", "labels")]
    digest.update(json.dumps([generator.name, settings, reading, around], sort_keys=True).encode())
    for encoder_name, encoder in sorted(generator.text_encoders().items()):
        for name, tensor in sorted(encoder.state_dict().items()):
            digest.update(f"{encoder_name}.{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            flat = tensor.flatten()
            places = torch.linspace(0, len(flat) - 1, min(_SAMPLED, len(flat)), dtype=torch.float64).long()
            digest.update(flat[places.to(flat.device)].double().cpu().numpy().tobytes())
    return digest.hexdigest()
