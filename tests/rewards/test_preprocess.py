"""Preprocessing against Pillow and by hand."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hypernoise_pl.rewards.preprocess import CLIP_MEAN, CLIP_STD, _shape, load_preprocessing, preprocess

MEAN, STD = (torch.tensor(v)[:, None, None] for v in (CLIP_MEAN, CLIP_STD))


def test_images_of_the_models_size_are_only_normalised() -> None:
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(preprocess(images, 32), (images - MEAN) / STD)


def reference(picture: np.ndarray, size: int, begin: Callable[[int], int]) -> torch.Tensor:
    """Pillow's resizing of [3, H, W] in floats: short side to size, long side truncated, then a crop from begin(left over)."""
    height, width = picture.shape[1:]
    short = min(height, width)
    shape = int(size * height / short), int(size * width / short)
    channels = [
        np.asarray(Image.fromarray(channel, "F").resize(shape[::-1], Image.Resampling.BICUBIC)) for channel in picture
    ]
    top, left = begin(shape[0] - size), begin(shape[1] - size)
    return torch.from_numpy(np.stack(channels)[:, top : top + size, left : left + size].copy())


def photograph(height: int, width: int) -> np.ndarray:
    """[3, H, W] waves in [0.1, 0.9], which differ from one pixel to the next."""
    rows, columns = np.arange(height)[:, None], np.arange(width)
    waves = [0.5 + 0.2 * np.sin(0.3 * k * rows) + 0.2 * np.cos(0.4 * k * columns) for k in (1.0, 0.7, 0.5)]
    return np.stack(waves).astype(np.float32)


SHAPES = [(300, 451), (451, 300), (299, 450), (33, 57), (57, 33), (34, 35), (96, 70), (64, 97), (48, 49), (250, 41)]
RULES = {"even": lambda left: round(left / 2.0), "down": lambda left: left // 2}  # torchvision; transformers


@pytest.mark.parametrize("odd", RULES)
@pytest.mark.parametrize("size", [32, 33])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_resize_and_crop_of_any_shape_equal_pillows(shape: tuple[int, int], size: int, odd: Any) -> None:
    picture = photograph(*shape)
    ours = preprocess(torch.from_numpy(picture)[None], size, odd=odd)[0] * STD + MEAN
    torch.testing.assert_close(ours, reference(picture, size, RULES[odd]), rtol=0, atol=2e-5)


def test_every_shape_is_truncated_as_torchvision_does() -> None:
    for height in range(224, 640, 7):
        for width in range(224, 640, 5):
            short = min(height, width)
            wanted = int(224 * height / short), int(224 * width / short)
            assert _shape(height, width, 224) == wanted and min(wanted) == 224


def test_a_picture_of_300_x_451_pixels_is_336_wide() -> None:
    assert _shape(300, 451, 224) == (224, 336)


PROCESSORS = {
    "bit": {"size": {"shortest_edge": 20}, "crop_size": 16, "resample": 3},
    "blip": {"size": {"height": 16, "width": 16}},
    "clip": {"size": {"shortest_edge": 16}, "crop_size": 16},
    "convnext": {"size": {"shortest_edge": 16}, "crop_pct": 0.875, "resample": 3},
    "siglip": {"size": {"height": 16, "width": 16}, "resample": 3},
    "vit": {"size": {"height": 16, "width": 16}},
}


def processor(name: str, **options: Any) -> Any:
    module = importlib.import_module(f"transformers.models.{name}.image_processing_pil_{name}")
    return next(getattr(module, each) for each in dir(module) if each.lower() == f"{name}imageprocessorpil")(**options)


@pytest.mark.parametrize("name", PROCESSORS)
def test_preprocessing_of_a_folder_is_its_processors_for_any_shape(name: str, tmp_path: Path) -> None:
    theirs = processor(name, **PROCESSORS[name])
    theirs.save_pretrained(tmp_path)
    ours = load_preprocessing(str(tmp_path), "reward")
    std = torch.tensor(theirs.image_std)[:, None, None]
    for shape in SHAPES:
        picture = np.round(255 * photograph(*shape)).astype(np.uint8)
        wanted = theirs(Image.fromarray(picture.transpose(1, 2, 0)), return_tensors="pt")["pixel_values"]
        found = ours(torch.from_numpy(picture)[None] / 255)
        torch.testing.assert_close(found * std, wanted * std, rtol=0, atol=3 / 255)  # Pillow rounds to 1/255, twice


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("levit", {"size": {"shortest_edge": 16}, "crop_size": 16}),  # resizes to 256 / 224 of what it says
        ("clip", {"size": {"shortest_edge": 16}, "crop_size": 24}),  # crops more than there is: pads
        ("clip", {"size": {"shortest_edge": 16}, "crop_size": 16, "do_resize": False}),
    ],
)
def test_processors_with_undocumented_steps_are_rejected(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    processor(name, **options).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="does more than resize, crop and normalise"):
        load_preprocessing(str(tmp_path), "reward")


def test_gradients_reach_every_pixel_that_is_not_cropped() -> None:
    images = torch.rand(1, 3, 64, 64, requires_grad=True)
    preprocess(images, 16).square().sum().backward()
    assert images.grad is not None and (images.grad != 0).all()
