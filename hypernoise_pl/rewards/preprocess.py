"""Differentiable image preprocessing for vision towers; the image processors of transformers are not differentiable.

For images that are not square, rounding decides which pixels a model reads. torchvision (used by CLIP, ImageReward and
the rewards of Noise Hypernetworks) and transformers both truncate the long side; they round the offset of the crop
differently where an odd number of pixels is left over.

Rewards of an ensemble often need the same preprocessing of the same images: ``shared_preprocessing`` computes each
variant once, forward and backward.
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

# operation and arguments -> input, held so that its id stays unique, and output
_SHARED: ContextVar[dict[tuple[Any, ...], tuple[Tensor, Tensor]] | None] = ContextVar("preprocessed", default=None)

_MODES = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers of the modes that torch can antialias


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

    The short side becomes ``resize`` and the long side ``resize * long / short``, truncated. The crop starts at half of
    the remaining pixels, rounded by ``odd``.

    Args:
        images: [B, 3, H, W] in [0, 1].
        size: side of the square crop in pixels, or its height and width.
        mean: mean of each channel; CLIP's if left out.
        std: standard deviation of each channel; CLIP's if left out.
        resize: length of the short side before the crop in pixels, or a fixed height and width; ``size`` if left out.
            Images of that size are not resized.
        mode: ``bicubic`` or ``bilinear``.
        odd: rounding of half an odd number of pixels: ``even``, to the even neighbour, as in torchvision's
            ``CenterCrop``; ``down``, as in transformers.

    Returns:
        [B, 3, height, width]; in float32 if the images are in half precision.

    Source: torchvision 0.24, ``transforms.Resize`` and ``CenterCrop``; transformers 5, ``image_transforms``.
    """
    cropped = _shared(_crop, images, size, size if resize is None else resize, mode, odd)
    return _shared(_normalise, cropped, tuple(mean), tuple(std))


@contextlib.contextmanager
def shared_preprocessing() -> Iterator[None]:
    """Within this block, the same preprocessing of the same tensor is computed once.

    The scores of one block share a part of their graph: differentiate their sum, or retain the graph.
    """
    token = _SHARED.set({})
    try:
        yield
    finally:
        _SHARED.reset(token)


def load_preprocessing(model: str, what: str) -> Callable[[Tensor], Tensor]:
    """Build the preprocessing that a vision model's ``preprocessor_config.json`` describes.

    Args:
        model: folder or hub id.
        what: caller's kind, for messages: ``reward`` or ``features``.

    Returns:
        A differentiable function from images [B, 3, H, W] in [0, 1] to [B, 3, S, S].

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if the preprocessing is not supported: another resampling or range, a crop that is not square, or an
            undocumented step, for which the processor's own result on a test image differs from ours.
    """
    from transformers import AutoImageProcessor

    processor = load_pretrained(AutoImageProcessor, model, what)
    if processor.resample not in _MODES:
        raise ValueError(f"{what} {model}: resample {processor.resample} is neither 2 (bilinear) nor 3 (bicubic)")
    if abs(processor.rescale_factor * 255 - 1) > 1e-3 or getattr(processor, "rescale_offset", False):
        raise ValueError(f"{what} {model}: rescaling by {processor.rescale_factor} is not from bytes to [0, 1]")
    resize, size = _sides(processor)
    if isinstance(size, tuple):
        raise ValueError(f"{what} {model}: needs {size[0]} x {size[1]} pixels; only square inputs are supported")
    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else ([0.0] * 3, [1.0] * 3)
    mode = _MODES[processor.resample]
    ours = functools.partial(preprocess, size=size, mean=mean, std=std, resize=resize, mode=mode, odd="down")
    _compare(processor, ours, size, std, f"{what} {model}")
    return ours


def _compare(processor: Any, ours: Callable[[Tensor], Tensor], size: int, std: Sequence[float], where: str) -> None:
    """Compare our preprocessing with the processor's own on one test image that is not square."""
    import numpy as np
    from PIL import Image

    height, width = 2 * size + 1, math.ceil(1.25 * size)
    lines = [0.5 + 0.4 * (0.4 * torch.arange(side)).sin() for side in (height, width)]
    grey = (255 * (lines[0][:, None] + lines[1]) / 2).round().byte()
    picture = Image.fromarray(np.ascontiguousarray(grey.numpy())).convert("RGB")
    expected = processor(picture, return_tensors="pt")["pixel_values"]
    actual = ours((grey / 255).expand(1, 3, -1, -1))
    same_shape = actual.shape == expected.shape
    error = (actual - expected).mul(torch.tensor(std)[:, None, None]).abs().max() if same_shape else None
    if error is None or error > 4 / 255:  # Pillow rounds to bytes twice
        raise ValueError(
            f"{where}: {type(processor).__name__} does more than resize, crop and normalise; such models are not "
            "supported"
        )


def _shared(function: Callable[..., Tensor], images: Tensor, *options: Any) -> Tensor:
    outputs = _SHARED.get()
    if outputs is None:
        return function(images, *options)
    # an output without a graph cannot be differentiated, so it is cached apart
    key = (function, id(images), images._version if not images.is_inference() else 0, torch.is_grad_enabled(), *options)
    if key not in outputs:
        outputs[key] = (images, function(images, *options))
    return outputs[key][1]


def _crop(images: Tensor, size: int | tuple[int, int], resize: int | tuple[int, int], mode: str, odd: str) -> Tensor:
    images = at_least_float32(images)
    shape = _shape(images.shape[-2], images.shape[-1], resize)
    if shape != images.shape[-2:]:
        # bicubic interpolation overshoots [0, 1]; an 8-bit image would be clipped
        images = F.interpolate(images, shape, mode=mode, antialias=True, align_corners=False).clamp(0, 1)
    height, width = (size, size) if isinstance(size, int) else size
    half = math.floor if odd == "down" else round
    top, left = half((shape[0] - height) / 2), half((shape[1] - width) / 2)
    return images[..., top : top + height, left : left + width]


def _normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    means, stds = (torch.tensor(v, device=images.device, dtype=images.dtype)[:, None, None] for v in (mean, std))
    return (images - means) / stds


def _shape(height: int, width: int, resize: int | tuple[int, int]) -> tuple[int, int]:
    if isinstance(resize, tuple):
        return resize
    short = min(height, width)
    return resize * height // short, resize * width // short


def _sides(processor: Any) -> tuple[int | tuple[int, int], int | tuple[int, int]]:
    """Sizes of ``resize`` and of the crop."""
    short, crop = processor.size.shortest_edge, processor.crop_size if processor.do_center_crop else None
    cropped = None if crop is None else _side(crop.height, crop.width)
    if short is None:
        return (processor.size.height, processor.size.width), cropped or _side(
            processor.size.height, processor.size.width
        )
    share = getattr(processor, "crop_pct", None)
    if share is None:
        return short, cropped or short
    # ConvNext's and ResNet's processors crop this share of the image, and nothing from 384 pixels on
    return (int(short / share) if short < 384 else (short, short)), short


def _side(height: int, width: int) -> int | tuple[int, int]:
    return height if height == width else (height, width)
