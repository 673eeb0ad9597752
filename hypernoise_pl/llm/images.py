"""Images in chat messages, as PNG data URLs."""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from hypernoise_pl.types import to_uint8


@dataclass(frozen=True)
class ChatImage:
    """The pixels of one image.

    Args:
        pixels: H W 3 bytes.
        size: width and height.
    """

    pixels: bytes
    size: tuple[int, int]

    @property
    def digest(self) -> str:
        """SHA-256 of size and pixels."""
        return hashlib.sha256(repr(self.size).encode() + self.pixels).hexdigest()

    def message_part(self) -> dict[str, Any]:
        """The part of a chat message that holds the image, as a PNG data URL."""
        from PIL import Image

        png = io.BytesIO()
        width, height = self.size
        Image.fromarray(np.frombuffer(self.pixels, np.uint8).reshape(height, width, 3)).save(png, "PNG")
        url = f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"
        return {"type": "image_url", "image_url": {"url": url}}


def chat_images(images: Tensor) -> list[ChatImage]:
    """Convert images [B, 3, H, W] in [0, 1] to B chat images."""
    height, width = images.shape[-2:]
    return [ChatImage(pixels.numpy().tobytes(), (width, height)) for pixels in to_uint8(images)]
