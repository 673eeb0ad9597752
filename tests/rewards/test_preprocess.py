"""Preprocessing against Pillow and by hand."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from hypernoise_pl.rewards.preprocess import CLIP_MEAN, CLIP_STD, preprocess

MEAN, STD = (torch.tensor(v)[:, None, None] for v in (CLIP_MEAN, CLIP_STD))


def test_images_of_the_models_size_are_only_normalised() -> None:
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(preprocess(images, 32), (images - MEAN) / STD)


def test_resize_and_crop_equal_pillows() -> None:
    line = torch.linspace(0, 6, 96)
    picture = (0.5 + 0.4 * torch.stack([line.sin()[:, None] * (k * line).cos()[None, :70] for k in (1, 2, 3)])).numpy()
    picture = (255 * picture).round().astype(np.uint8)  # 3 x 96 x 70, high
    resized = Image.fromarray(picture.transpose(1, 2, 0)).resize((32, 44), Image.Resampling.BICUBIC)
    pillow = torch.from_numpy(np.asarray(resized)[6:38].transpose(2, 0, 1) / 255).float()
    ours = preprocess(torch.from_numpy(picture)[None] / 255, 32)[0] * STD + MEAN
    torch.testing.assert_close(ours, pillow, rtol=0, atol=0.01)  # Pillow rounds to 1/255, twice


def test_gradients_reach_every_pixel_that_is_not_cropped() -> None:
    images = torch.rand(1, 3, 64, 64, requires_grad=True)
    preprocess(images, 16).square().sum().backward()
    assert images.grad is not None and (images.grad != 0).all()
