"""The renderer: gradients, batching, outlines, edges."""

import itertools

import pytest
import torch
from torch import Tensor

from hypernoise_pl.shapes.caption import SHAPES, sample_prompts
from hypernoise_pl.shapes.flaws import Slots
from hypernoise_pl.shapes.render import render, render_scenes
from hypernoise_pl.shapes.scene import Scenes, sample_scenes


def scenes(count: int) -> Scenes:
    named = [combination for _, combination in sample_prompts("train", count, seed=3)]
    return sample_scenes(named, torch.Generator().manual_seed(0))


def alone(shape: str, radius: float = 0.4, size: int = 64, centre: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """[size, size] how much of each pixel one object covers."""
    weights = torch.eye(len(SHAPES))[SHAPES.index(shape)][None, None]
    place, one = torch.tensor([[centre]]), torch.ones(1, 1)
    return render(one, weights, torch.ones(1, 1, 3), place, radius * one, torch.zeros(1, 3, 2, 2), size)[0, 0]


def test_gradients_equal_finite_differences():
    draws = torch.Generator().manual_seed(0)

    def uniform(*size: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        value = low + (high - low) * torch.rand(size, generator=draws, dtype=torch.float64)
        return value.requires_grad_()

    opacity, colour, background = uniform(2, 3), uniform(2, 3, 3), uniform(2, 3, 2, 2)
    shape = torch.softmax(3 * uniform(2, 3, 6).detach(), -1).requires_grad_()
    centre, radius = uniform(2, 3, 2, low=-0.6, high=0.6), uniform(2, 3, low=0.25, high=0.5)
    arguments = (opacity, shape, colour, centre, radius, background)
    assert torch.autograd.gradcheck(lambda *a: render(*a, size=9), arguments, eps=1e-7, atol=1e-5)


def test_no_gradient_is_lost_or_broken_at_any_place_of_an_outline():
    slots = Slots.of(scenes(60))
    inputs = [getattr(slots, name).requires_grad_() for name in ("opacity", "shape", "rgb", "centre", "radius")]
    slots.render().square().sum().backward()
    for value in inputs:
        assert value.grad is not None and value.grad.isfinite().all() and value.grad.abs().sum() > 0


def test_a_batch_equals_one_at_a_time():
    several = scenes(24)
    one_by_one = torch.cat([render_scenes(several[row : row + 1]) for row in range(24)])
    torch.testing.assert_close(render_scenes(several), one_by_one)


def test_pictures_are_in_range_and_of_any_size():
    for size in (32, 64, 128):
        images = render_scenes(scenes(12), size)
        assert images.shape == (12, 3, size, size) and images.min() >= 0 and images.max() <= 1


def test_sizes_show_the_same_picture():
    several = scenes(60)
    shrunk = torch.nn.functional.avg_pool2d(render_scenes(several, 128), 4)
    assert (shrunk - render_scenes(several, 32)).abs().mean() < 0.006


@pytest.mark.parametrize("pair", itertools.combinations(SHAPES, 2), ids="-".join)
def test_each_outline_differs_from_every_other(pair):
    one, other = (alone(shape) for shape in pair)
    assert torch.minimum(one, other).sum() / torch.maximum(one, other).sum() < 0.85


@pytest.mark.parametrize("shape", SHAPES)
def test_an_outline_fits_its_circle_is_symmetric_and_scales(shape):
    cover = alone(shape)
    line = torch.linspace(-1 + 1 / 64, 1 - 1 / 64, 64)
    outside = (line[:, None] ** 2 + line**2).sqrt() > 0.4 * 1.2
    assert cover[outside].max() < 0.05
    torch.testing.assert_close(cover, cover.flip(1), atol=1e-4, rtol=0)
    assert cover.sum() / alone(shape, radius=0.2).sum() == pytest.approx(4, rel=0.06)


AREAS = {
    "circle": 3.14159 * 0.95**2,
    "square": 1.64**2,
    "cross": 2 * 1.9 * 0.6 - 0.6**2,
    "ring": 3.14159 * (0.97**2 - 0.47**2),
    "star": 5 * 1.05 * 0.45 * 0.587785,  # ten triangles with sin 36 degrees between tip and hollow
}


@pytest.mark.parametrize("shape", AREAS)
def test_areas_are_those_of_geometry(shape):
    covered = alone(shape, radius=0.8, size=256).sum().item() / 256**2 * 4 / 0.8**2
    assert covered == pytest.approx(AREAS[shape], rel=0.02)


def test_x_is_to_the_right_and_y_upwards():
    cover = alone("circle", radius=0.3, centre=(0.5, 0.5))
    assert cover[:32, 32:].sum() / cover.sum() > 0.99


def test_later_slots_hide_earlier_ones():
    here, one = torch.zeros(1, 2, 2), torch.ones(1, 2)
    square = torch.eye(len(SHAPES))[[1, 1]][None]
    colours = torch.tensor([[[1.0, 0, 0], [0, 0, 1.0]]])
    image = render(one, square, colours, here, 0.5 * one, torch.zeros(1, 3, 2, 2), 32)
    torch.testing.assert_close(image[0, :, 16, 16], torch.tensor([0.0, 0, 1.0]), atol=1e-4, rtol=0)
