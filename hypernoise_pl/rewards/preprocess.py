"""Differentiable image preprocessing for vision towers; the image processors of transformers cut gradients.

For images that are not square the arithmetic of the original decides which pixels a model sees. torchvision, which
CLIP, ImageReward and the noise hypernetworks' own rewards use, and transformers both truncate the long side; they
differ in the crop where an odd number of pixels is left.

An ensemble of rewards looks at one batch of images in few ways: ``shared_preprocessing`` does each of them once,
forward and backward.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from hypernoise_pl.checkpoints.loading import load_pretrained
from hypernoise_pl.system.dtypes import at_least_float32

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

# what was done in this block -> the tensor it was done to, which keeps its identity while it is held, and the outcome
_DONE: ContextVar[dict[tuple[Any, ...], tuple[Tensor, Tensor]] | None] = ContextVar("preprocessed", default=None)

_MODES = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers of those that torch can antialias


def preprocess(
    images: Tensor,
    size: int | tuple[int, int],
    mean: Sequence[float] = CLIP_MEAN,
    std: Sequence[float] = CLIP_STD,
    resize: int | tuple[int, int] | None = None,
    mode: str = "bicubic",
    odd: Literal["even", "down"] = "even",
) -> Tensor:
    """Resize (antialiased), crop the centre, normalise.

    The short side becomes ``resize`` and the long one ``resize * long / short``, truncated. The crop begins at half of
    what is left over; ``odd`` rounds that.

    Args:
        images: [B, 3, H, W] in [0, 1].
        size: pixels a side of what is cropped, or its height and width.
        mean: of each channel; CLIP's if left out.
        std: of each channel; CLIP's if left out.
        resize: pixels of the short side before the crop, or height and width whatever the shape was; ``size`` if left
            out. Images that have them already are not resized.
        mode: ``bicubic`` or ``bilinear``.
        odd: rounding of half of an odd number of pixels: ``even``, to the even neighbour, as in torchvision's
            ``CenterCrop``; ``down``, as in transformers.

    Returns:
        [B, 3, height, width] of that size; in float32 if the images are in half precision.

    Source: torchvision 0.24, ``transforms.Resize`` and ``CenterCrop``; transformers 5, ``image_transforms``.
    """
    cropped = _once(_cropped, images, size, size if resize is None else resize, mode, odd)
    return _once(_normalised, cropped, tuple(mean), tuple(std))


@contextlib.contextmanager
def shared_preprocessing() -> Iterator[None]:
    """Within this block, what was done to a tensor of images once is not done again.

    Scores of one block share a part of their graph: differentiate their sum, or keep the graph.
    """
    token = _DONE.set({})
    try:
        yield
    finally:
        _DONE.reset(token)


def load_preprocessing(model: str, what: str) -> Callable[[Tensor], Tensor]:
    """The preprocessing that a vision model's ``preprocessor_config.json`` asks for; always to a square.

    Args:
        model: folder or hub id.
        what: ``reward`` or ``features``, for messages.

    Returns:
        Images [B, 3, H, W] in [0, 1] -> [B, 3, S, S], differentiable.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it asks for what cannot be done here: another resampling, another range, no square, or a step
            that its fields do not tell, in which case its own result on one picture differs from ours.
    """
    from transformers import AutoImageProcessor

    told = load_pretrained(AutoImageProcessor, model, what)
    if told.resample not in _MODES:
        raise ValueError(f"{what} {model}: resample {told.resample} is neither 2 (bilinear) nor 3 (bicubic)")
    if abs(told.rescale_factor * 255 - 1) > 1e-3 or getattr(told, "rescale_offset", False):
        raise ValueError(f"{what} {model}: rescaling by {told.rescale_factor} is not from bytes to [0, 1]")
    resize, size = _sides(told)
    if isinstance(size, tuple):
        raise ValueError(f"{what} {model}: wants {size[0]} x {size[1]} pixels; only squares are served")
    mean, std = (told.image_mean, told.image_std) if told.do_normalize else ([0.0] * 3, [1.0] * 3)
    mode = _MODES[told.resample]
    ours = functools.partial(preprocess, size=size, mean=mean, std=std, resize=resize, mode=mode, odd="down")
    _compare(told, ours, size, std, f"{what} {model}")
    return ours


def _compare(told: Any, ours: Callable[[Tensor], Tensor], size: int, std: Sequence[float], where: str) -> None:
    """Hold our preprocessing against the processor's own on one picture that is not square."""
    import numpy as np
    from PIL import Image

    height, width = 2 * size + 1, math.ceil(1.25 * size)
    lines = [0.5 + 0.4 * (0.4 * torch.arange(side)).sin() for side in (height, width)]
    grey = (255 * (lines[0][:, None] + lines[1]) / 2).round().byte()
    picture = Image.fromarray(np.ascontiguousarray(grey.numpy())).convert("RGB")
    wanted = told(picture, return_tensors="pt")["pixel_values"]
    found = ours((grey / 255).expand(1, 3, -1, -1))
    off = (found - wanted).mul(torch.tensor(std)[:, None, None]).abs().max() if found.shape == wanted.shape else None
    if off is None or off > 4 / 255:  # Pillow rounds to bytes twice
        raise ValueError(
            f"{where}: {type(told).__name__} does more than to resize, crop and normalise; such a model is not served"
        )


def _once(function: Callable[..., Tensor], images: Tensor, *options: Any) -> Tensor:
    done = _DONE.get()
    if done is None:
        return function(images, *options)
    # an outcome without a graph is of no use to those who differentiate
    key = (function, id(images), images._version if not images.is_inference() else 0, torch.is_grad_enabled(), *options)
    if key not in done:
        done[key] = (images, function(images, *options))
    return done[key][1]


def _cropped(images: Tensor, size: int | tuple[int, int], resize: int | tuple[int, int], mode: str, odd: str) -> Tensor:
    images = at_least_float32(images)
    shape = _shape(images.shape[-2], images.shape[-1], resize)
    if shape != images.shape[-2:]:
        # bicubic overshoots beyond the range that an 8-bit picture could hold
        images = F.interpolate(images, shape, mode=mode, antialias=True, align_corners=False).clamp(0, 1)
    height, width = (size, size) if isinstance(size, int) else size
    half = math.floor if odd == "down" else round
    top, left = half((shape[0] - height) / 2), half((shape[1] - width) / 2)
    return images[..., top : top + height, left : left + width]


def _normalised(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    means, stds = (torch.tensor(v, device=images.device, dtype=images.dtype)[:, None, None] for v in (mean, std))
    return (images - means) / stds


def _shape(height: int, width: int, resize: int | tuple[int, int]) -> tuple[int, int]:
    if isinstance(resize, tuple):
        return resize
    short = min(height, width)
    return resize * height // short, resize * width // short


def _sides(told: Any) -> tuple[int | tuple[int, int], int | tuple[int, int]]:
    """What to resize to, and what to crop from that."""
    short, crop = told.size.shortest_edge, told.crop_size if told.do_center_crop else None
    cropped = None if crop is None else _side(crop.height, crop.width)
    if short is None:
        return (told.size.height, told.size.width), cropped or _side(told.size.height, told.size.width)
    share = getattr(told, "crop_pct", None)
    if share is None:
        return short, cropped or short
    # ConvNext's and ResNet's processor crops this share of the picture, and nothing at 384 pixels or more
    return (int(short / share) if short < 384 else (short, short)), short


def _side(height: int, width: int) -> int | tuple[int, int]:
    return height if height == width else (height, width)
