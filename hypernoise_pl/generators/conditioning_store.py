"""ConditioningStore: encoded prompts in a folder, shared by runs and processes."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.generators.conditioning_key import conditioning_key
from hypernoise_pl.system.files import atomic_write
from hypernoise_pl.types import Conditioning


class ConditioningStore:
    """Conditioning by text, in safetensors files ("shards") that are written atomically.

    Any number of processes and runs may read and write one folder at once: a shard never changes, its name follows from
    its texts, and ``texts`` and ``read`` find shards that another process has added.

    Args:
        folder: folder of one generator's shards.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shards: set[str] = set()
        self._rows: dict[str, tuple[str, int]] = {}  # text -> shard and row

    def texts(self) -> set[str]:
        """The texts that are stored by now.

        Raises:
            NotADirectoryError: if the cache's folder is a file.
            ValueError: if a shard is damaged.
        """
        check_store_folder(self.folder)
        for file in sorted(self.folder.glob("*.safetensors")):
            if file.name not in self._shards:
                with self._open(file.name) as shard:
                    texts = json.loads((shard.metadata() or {}).get("texts", "null"))
                    lengths = {shard.get_slice(key).get_shape()[0] for key in shard.keys()}  # noqa: SIM118 - no mapping
                if not isinstance(texts, list) or lengths != {len(texts)}:
                    raise ValueError(f"prompt cache {file}: not a shard of a prompt cache; remove it from this folder")
                self._rows |= {text: (file.name, row) for row, text in enumerate(texts)}
                self._shards.add(file.name)
        return set(self._rows)

    def read(self, texts: Sequence[str]) -> dict[str, Conditioning]:
        """Text -> conditioning of one row, on the CPU; texts that are not stored are left out."""
        if any(text not in self._rows for text in texts):
            self.texts()
        by_shard: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for text in texts:
            if text in self._rows:
                name, row = self._rows[text]
                by_shard[name].append((text, row))
        conditionings: dict[str, Conditioning] = {}
        for name, rows in by_shard.items():
            with self._open(name) as shard:
                slices = {key: shard.get_slice(key) for key in shard.keys()}  # noqa: SIM118 - no mapping
                for text, row in rows:
                    conditionings[text] = Conditioning(**{key: part[row : row + 1] for key, part in slices.items()})
        return conditionings

    def write(self, texts: Sequence[str], conditioning: Conditioning) -> int:
        """Add a shard.

        Args:
            texts: B texts.
            conditioning: conditioning of the same texts.

        Returns:
            The shard's size in bytes.

        Raises:
            OSError: if the disk is full or not writable; the message names the file.
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
        with atomic_write(self.folder / name) as partial:
            partial.write_bytes(data)
        return len(data)

    def _open(self, name: str) -> Any:
        """Open a shard; a context manager of safetensors."""
        if (self.folder / name).is_dir():
            raise ValueError(f"prompt cache {self.folder / name}: a folder in the place of a file; remove it")
        try:
            return safe_open(self.folder / name, "pt")
        except SafetensorError as error:
            raise ValueError(f"prompt cache {self.folder / name}: damaged file: {error}; delete it") from error


def check_store_folder(folder: Path) -> None:
    """Raise ``NotADirectoryError`` if a prompt cache's folder is a file."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"prompt cache {folder}: a file; give a folder, which is made if need be")


def open_store(folder: str, generator: Generator) -> ConditioningStore:
    """Open the part of a prompt cache that belongs to a generator, and offload the generator's text encoders for good.

    Args:
        folder: folder of the cache; it may hold the parts of several generators.
        generator: generator whose prompts are stored.

    Raises:
        NotADirectoryError: if the folder is a file.
    """
    check_store_folder(Path(folder))
    generator.offload_text_encoders()
    name = re.sub(r"[^A-Za-z0-9.]+", "-", generator.name).strip("-")[-60:]
    return ConditioningStore(Path(folder) / f"{name}-{conditioning_key(generator)}")
