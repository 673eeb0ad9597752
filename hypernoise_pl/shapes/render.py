"""A differentiable renderer of scenes: signed distances, anti-aliased edges, alpha compositing of slots."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from hypernoise_pl.shapes.caption import SHAPES
from hypernoise_pl.shapes.scene import Scenes

_TIP = (math.cos(math.pi / 5), math.sin(math.pi / 5))  # a star's sector is 36 degrees wide


def render(
    opacity: Tensor, shape: Tensor, rgb: Tensor, centre: Tensor, radius: Tensor, background: Tensor, size: int
) -> Tensor:
    """Paint slots over a background.

    Args:
        opacity: [B, S] in [0, 1].
        shape: [B, S, 6] weights of the shapes, summing to 1; a blend of shapes has the blended outline.
        rgb: [B, S, 3] in [0, 1].
        centre: [B, S, 2] x and y in [-1, 1], y upwards.
        radius: [B, S] positive.
        background: [B, 3, 2, 2] corner colours in [0, 1].
        size: pixels a side.

    Returns:
        [B, 3, size, size] in [0, 1].
    """
    pixel = 2.0 / size
    line = torch.linspace(-1 + pixel / 2, 1 - pixel / 2, size, device=rgb.device, dtype=rgb.dtype)
    x = (line[None, None, None, :] - centre[..., 0, None, None]) / radius[..., None, None]  # [B, S, 1, W]
    y = (-line[None, None, :, None] - centre[..., 1, None, None]) / radius[..., None, None]  # [B, S, H, 1]
    distance = sum(
        weight[..., None, None] * outline for weight, outline in zip(shape.unbind(-1), _outlines(x, y), strict=True)
    )
    # a sigmoid of width one pixel: soft enough to carry gradients across an edge, sharp enough for the eye
    cover = torch.sigmoid(-distance * (radius / (0.25 * pixel))[..., None, None]) * opacity[..., None, None]
    image = F.interpolate(background, size=(size, size), mode="bilinear", align_corners=True)
    for slot in range(cover.shape[1]):
        alpha = cover[:, slot, None]
        image = image + alpha * (rgb[:, slot, :, None, None] - image)
    return image


def render_scenes(scenes: Scenes, size: int = 32) -> Tensor:
    """[B, 3, size, size] pictures of scenes, in [0, 1]."""
    weights = F.one_hot(scenes.shape, len(SHAPES)).to(scenes.rgb)
    opacity = scenes.present.to(scenes.rgb)
    return render(opacity, weights, scenes.rgb, scenes.centre, scenes.radius, scenes.background, size)


def _outlines(x: Tensor, y: Tensor) -> list[Tensor]:
    """Signed distances, negative inside, to the outlines of ``SHAPES`` of radius 1 around the origin."""
    ax, ay = x.abs(), y.abs()
    length = (x * x + y * y + 1e-6).sqrt()
    circle = length - 0.95
    square = torch.maximum(ax, ay) - 0.82
    triangle = torch.maximum(-y - 0.58, 0.5 * y + 0.866 * ax - 0.56)
    cross = torch.minimum(torch.maximum(ax - 0.95, ay - 0.3), torch.maximum(ax - 0.3, ay - 0.95))
    ring = (length - 0.72).abs() - 0.25
    return [circle, square, triangle, cross, _star(ax, y), ring]


def _star(ax: Tensor, y: Tensor) -> Tensor:
    """Five tips at radius 1.05, five hollows at 0.45: every point is folded into one sector beside the upper tip."""
    cos, sin = _TIP
    fold = 2 * (cos * ax - sin * y).clamp(min=0)
    px, py = ax - fold * cos, y + fold * sin
    fold = 2 * (-cos * px - sin * py).clamp(min=0)
    px, py = (px + fold * cos).abs(), py + fold * sin
    hollow = (0.45 * sin, 0.45 * cos)
    edge = (hollow[0], hollow[1] - 1.05)
    norm = math.hypot(*edge)
    return ((py - 1.05) * edge[0] - px * edge[1]) / norm
