"""Pictures of words, for what reads them."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor


def picture(*lines: str, size: tuple[int, int] = (192, 192), height: int = 56, degrees: float = 0) -> Tensor:
    """[3, H, W] in [0, 1]: lines of black letters on white, turned to the left by some degrees.

    Args:
        lines: texts, from the top downwards.
        size: width and height in pixels.
        height: of the letters' font.
        degrees: by which the whole is turned.
    """
    image = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=height)
    for place, line in enumerate(lines):
        draw.text((height // 4, height // 2 + place * height * 5 // 4), line, font=font, fill="black")
    turned = image.rotate(degrees, expand=True, fillcolor="white")
    return torch.from_numpy(np.array(turned)).movedim(-1, 0) / 255
