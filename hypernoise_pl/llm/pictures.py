"""Pictures in a chat: as a request holds them, and what a model has said of them, kept in a folder."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from hypernoise_pl.llm.answer_schema import AnswerSchema
from hypernoise_pl.system.files import write
from hypernoise_pl.types import to_uint8


@dataclass(frozen=True)
class Picture:
    """The pixels of one image.

    Args:
        pixels: H W 3 bytes.
        size: width and height.
    """

    pixels: bytes
    size: tuple[int, int]

    @property
    def digest(self) -> str:
        """Hash of size and pixels."""
        return hashlib.sha256(repr(self.size).encode() + self.pixels).hexdigest()

    def part(self) -> dict[str, Any]:
        """The part of a message that shows it: a PNG data URL."""
        from PIL import Image

        png = io.BytesIO()
        width, height = self.size
        Image.fromarray(np.frombuffer(self.pixels, np.uint8).reshape(height, width, 3)).save(png, "PNG")
        url = f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"
        return {"type": "image_url", "image_url": {"url": url}}


def pictures(images: Tensor) -> list[Picture]:
    """B pictures of images [B, 3, H, W] in [0, 1]."""
    height, width = images.shape[-2:]
    return [Picture(pixels.numpy().tobytes(), (width, height)) for pixels in to_uint8(images)]


@dataclass(frozen=True)
class Kept:
    """A folder of answers, a JSON file each, by what was asked.

    Args:
        folder: where the files lie.
        owner: name for messages.
        name: what the answers are called in the files.
    """

    folder: Path
    owner: str
    name: str

    def get(self, about: Mapping[str, Any], form: AnswerSchema, ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The answer that is kept, else the one that is asked for, which is kept then.

        Args:
            about: what decides the answer, as JSON has it.
            form: of the answer.
            ask: gives the answer.

        Raises:
            ValueError: if a file is damaged.
        """
        key = hashlib.sha256(json.dumps(about).encode()).hexdigest()
        file = self.folder / key[:2] / f"{key}.json"
        if file.exists():
            try:
                return form.check(json.loads(file.read_text())[self.name])
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{self.owner}'s cache {file}: damaged file, remove it: {error}") from error
        answer = ask()
        file.parent.mkdir(parents=True, exist_ok=True)
        write(file, json.dumps({**about, self.name: answer}, indent=1, ensure_ascii=False))
        return answer
