"""Reads an image file into a tensor."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from hypernoise_pl.metrics.image_files import ImageFile


class Unreadable(ValueError):
    """An image file that cannot be read; the message has the reason without the file's name."""


def read_image(image: ImageFile) -> Tensor:
    """Read an image file, or one cell of a file that holds a grid of images.

    Returns:
        Pixels [3, H, W] in [0, 1].

    Raises:
        Unreadable: if the file is missing, not an image, damaged, not RGB, or not divisible into its cells.
    """
    try:
        with Image.open(image.path) as opened:
            opened.load()
            if opened.mode != "RGB":
                raise Unreadable(f"mode {opened.mode}, not RGB")
            pixels = torch.from_numpy(np.array(opened))
    except FileNotFoundError:
        raise Unreadable("no such file") from None
    except IsADirectoryError:
        raise Unreadable("a folder, not a file") from None
    except UnidentifiedImageError:
        raise Unreadable("not an image, or its first bytes are damaged") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable(f"damaged or cut short: {' '.join(str(error).split())}") from None
    return _cell(pixels, image.cell).movedim(-1, 0).float() / 255


def _cell(pixels: Tensor, cell: tuple[int, int, int, int] | None) -> Tensor:
    """The pixels [H, W, 3] of one cell of a grid; all pixels if ``cell`` is None."""
    if cell is None:
        return pixels
    row, column, rows, columns = cell
    height, width = pixels.shape[:2]
    if height % rows or width % columns:
        raise Unreadable(f"{width} x {height} pixels; not divisible into {columns} x {rows} images of one size")
    height, width = height // rows, width // columns
    return pixels[row * height : (row + 1) * height, column * width : (column + 1) * width]
