"""Grids of images with captions, drawn with torch and Pillow."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from hypernoise_pl.types import to_uint8

INK, PAPER, GAP = (30, 30, 30), (255, 255, 255), 4


def image_grid(rows: Sequence[Tensor], names: Sequence[str], captions: Sequence[str], size: int = 128) -> Image.Image:
    """Draw rows of images under common captions.

    Args:
        rows: images [K, 3, H, W] in [0, 1], one tensor per row.
        names: names of the rows, written at the left.
        captions: K captions, written above the columns.
        size: side of each picture in pixels; images are resized to it.

    Returns:
        The picture.
    """
    margin, line = 100, 14
    lines = [textwrap.wrap(caption, max(8, size // 6)) for caption in captions]
    header = line * max(len(text) for text in lines) + 2 * GAP
    width, height = margin + len(captions) * (size + GAP), header + len(rows) * (size + GAP)
    canvas = Image.new("RGB", (width, height), PAPER)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    for column, text in enumerate(lines):
        draw.multiline_text((margin + column * (size + GAP), GAP), "\n".join(text), INK, font, spacing=1)
    for row, (images, name) in enumerate(zip(rows, names, strict=True)):
        top = header + row * (size + GAP)
        draw.text((GAP, top + size // 2 - line), "\n".join(textwrap.wrap(name, 14)), INK, font)
        for column, picture in enumerate(to_uint8(_resized(images, size))):
            canvas.paste(Image.fromarray(picture.numpy()), (margin + column * (size + GAP), top))
    return canvas


def _resized(images: Tensor, size: int) -> Tensor:
    if images.shape[-1] == size:
        return images
    return F.interpolate(images.float().cpu(), (size, size), mode="bicubic", antialias=True, align_corners=False)


def image_of(pixels: Tensor) -> Image.Image:
    """The picture of [3, H, W] in [0, 1]."""
    return Image.fromarray(to_uint8(pixels).numpy())


def to_tensor(picture: Image.Image) -> Tensor:
    """[3, H, W] in [0, 1], for TensorBoard."""
    data = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return data.view(picture.height, picture.width, 3).movedim(-1, 0) / 255
