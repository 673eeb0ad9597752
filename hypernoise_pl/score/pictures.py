"""One image of a file as a tensor, or why it cannot be scored."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from hypernoise_pl.metrics.image_files import ImageFile


class Unreadable(ValueError):
    """An image that cannot be scored; the message says why, without its name."""


def read_image(image: ImageFile) -> Tensor:
    """[3, H, W] in [0, 1] of an image file, or of its cell where the file holds a grid.

    Raises:
        Unreadable: if the file is missing, no image, damaged, cut short, not RGB, or cannot be cut into its cells.
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
    """The part [H, W, 3] of a grid that a cell names."""
    if cell is None:
        return pixels
    row, column, rows, columns = cell
    height, width = pixels.shape[:2]
    if height % rows or width % columns:
        raise Unreadable(f"{width} x {height} pixels, which cannot be cut into {columns} x {rows} images of one size")
    height, width = height // rows, width // columns
    return pixels[row * height : (row + 1) * height, column * width : (column + 1) * width]
