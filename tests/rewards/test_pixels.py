"""Scores of pixels have exact values."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image

from hypernoise_pl.rewards.pixels import Brightness, JPEGSize, Redness


def _plain(red: float, green: float, blue: float) -> torch.Tensor:
    return torch.tensor([red, green, blue])[None, :, None, None].expand(1, 3, 8, 10)


def test_redness_and_brightness() -> None:
    images = torch.cat([_plain(1, 0, 0), _plain(0, 1, 1), _plain(1, 1, 1), _plain(0.5, 0.25, 0.5)])
    assert Redness()(images, [""] * 4).tolist() == [1.0, -1.0, 0.0, 0.125]
    torch.testing.assert_close(Brightness()(images, [""] * 4), torch.tensor([1 / 3, 2 / 3, 1.0, 1.25 / 3]))


def test_gradients_are_those_of_the_formulas() -> None:
    images = torch.rand(2, 3, 4, 5, requires_grad=True)
    (gradient,) = torch.autograd.grad(Redness()(images, ["", ""]).sum(), images)
    torch.testing.assert_close(gradient, torch.tensor([1.0, -0.5, -0.5])[:, None, None].expand(2, 3, 4, 5) / 20)
    (gradient,) = torch.autograd.grad(Brightness()(images, ["", ""]).sum(), images)
    torch.testing.assert_close(gradient, torch.full((2, 3, 4, 5), 1 / 60))


def test_jpeg_grows_with_noise() -> None:
    torch.manual_seed(0)
    noise, levels = torch.rand(3, 64, 64), torch.tensor([0.0, 0.05, 0.2, 0.5, 1.0])
    images = 0.5 + levels[:, None, None, None] * (noise - 0.5)
    sizes = JPEGSize(incompressible=True)(images, [""] * 5)
    assert (sizes.diff() > 0).all()
    assert torch.equal(JPEGSize()(images, [""] * 5), -sizes)
    assert (JPEGSize(quality=50, incompressible=True)(images, [""] * 5)[1:] < sizes[1:]).all()


def test_jpeg_is_measured_in_thousands_of_bytes() -> None:
    torch.manual_seed(0)
    image = torch.randint(0, 256, (3, 16, 24), dtype=torch.uint8)
    file = io.BytesIO()
    Image.fromarray(image.movedim(0, -1).numpy()).save(file, "JPEG", quality=80)
    (found,) = JPEGSize(quality=80, incompressible=True)(image[None] / 255, [""]).tolist()
    assert found == pytest.approx(len(file.getvalue()) / 1000)
    with pytest.raises(ValueError, match="JPEG quality must be from 1 to 95, got 100"):
        JPEGSize(quality=100)


def test_a_picture_with_missing_values_has_no_jpeg() -> None:
    images = torch.cat([_plain(1, 0, 0), _plain(float("nan"), 0, 0)])
    scores = JPEGSize()(images, ["", ""])
    assert scores[0] == JPEGSize()(images[:1], [""])[0] and scores[1].isnan()
