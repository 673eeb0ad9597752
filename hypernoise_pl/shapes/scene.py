"""Scenes of the shapes world: up to four coloured shapes on a dark background, described by numbers.

A scene is kept as the 2 x 2 cells of a latent grid: every object in a cell of its own, near the place where it stands.

Coordinates run from -1 to 1, x to the right and y upwards; a radius is in the same unit.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from hypernoise_pl.shapes.caption import COLOURS, SHAPES, Combination

PALETTE = torch.tensor(list(COLOURS.values()))  # [8, 3]
SLOTS = 4  # objects at the most; also the cells of the 2 x 2 latent grid
CELLS = torch.tensor([[-0.4, 0.4], [0.4, 0.4], [-0.4, -0.4], [0.4, -0.4]])  # their middles, the top row first
GAP = 0.14  # empty space kept between two objects: 2 pixels at 32 x 32
AXES = {"left of": (-1.0, 0.0), "right of": (1.0, 0.0), "above": (0.0, 1.0), "below": (0.0, -1.0)}


@dataclass(frozen=True)
class Scenes:
    """A batch of scenes.

    Args:
        present: [B, 4] whether the slot holds an object.
        shape: [B, 4] index into ``SHAPES``.
        rgb: [B, 4, 3] the object's colour in [0, 1].
        centre: [B, 4, 2] x and y.
        radius: [B, 4].
        background: [B, 3, 2, 2] colours of the four corners, interpolated between; row 0 is the top.
    """

    present: Tensor
    shape: Tensor
    rgb: Tensor
    centre: Tensor
    radius: Tensor
    background: Tensor

    def __len__(self) -> int:
        return len(self.present)

    def __getitem__(self, index: Tensor | slice) -> Scenes:
        return Scenes(*(getattr(self, f.name)[index] for f in fields(self)))


def sample_scenes(combinations: Sequence[Combination], generator: torch.Generator) -> Scenes:
    """Draw one scene for each combination: exactly the objects it names, anything it leaves open at random.

    Objects do not touch, stand whole inside the picture, and are kept each in the cell nearest to it.
    """
    count = torch.tensor([len(c.shapes) for c in combinations])
    batch = len(combinations)

    def uniform(*size: int) -> Tensor:
        return torch.rand(size, generator=generator)

    present = torch.arange(SLOTS) < count[:, None]
    shape = torch.randint(len(SHAPES), (batch, SLOTS), generator=generator)
    colour = torch.randint(len(COLOURS), (batch, SLOTS), generator=generator)
    alike = uniform(batch, 1) < 0.5  # objects of one kind are often of one colour
    one_kind = torch.tensor([len(set(c.shapes)) == 1 for c in combinations])[:, None]
    colour = torch.where(alike & one_kind, colour[:, :1], colour)
    names, colours = list(SHAPES), list(COLOURS)
    for row, combination in enumerate(combinations):
        for slot, (name, paint) in enumerate(zip(combination.shapes, combination.colours)):
            shape[row, slot] = names.index(name)
            if paint is not None:
                colour[row, slot] = colours.index(paint)
    rgb = (PALETTE[colour] + 0.06 * (uniform(batch, SLOTS, 3) - 0.5)).clamp(0, 1)
    centre, radius = _place(combinations, present, generator)
    background = 0.02 + 0.20 * uniform(batch, 3, 1, 1) + 0.05 * uniform(batch, 3, 2, 2)
    order = _nearest_cells(centre, present)
    rows = torch.arange(batch)[:, None]
    return Scenes(
        present[rows, order], shape[rows, order], rgb[rows, order], centre[rows, order], radius[rows, order], background
    )


def _place(combinations: Sequence[Combination], present: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rejection sampling of centres and radii, all scenes at once; the scenes still wrong are drawn again."""
    axis = torch.tensor([AXES.get(c.relation or "", (0.0, 0.0)) for c in combinations])
    related = axis.abs().sum(1) > 0
    largest = torch.tensor([0.42, 0.42, 0.40, 0.32, 0.29])[present.sum(1)][:, None]
    centre, radius = torch.zeros(*present.shape, 2), torch.zeros(present.shape)
    todo = torch.arange(len(combinations))
    while len(todo):
        draw = torch.rand(len(todo), SLOTS, 3, generator=generator)
        radius[todo] = 0.25 + (largest[todo] - 0.25) * draw[..., 2]
        centre[todo] = (2 * draw[..., :2] - 1) * (0.97 - radius[todo])[..., None]
        distance = torch.cdist(centre[todo], centre[todo])
        reach = radius[todo][:, :, None] + radius[todo][:, None, :] + GAP
        pair = present[todo][:, :, None] & present[todo][:, None, :] & ~torch.eye(SLOTS, dtype=torch.bool)
        wrong = (pair & (distance < reach)).flatten(1).any(1)
        offset = centre[todo][:, 0] - centre[todo][:, 1]  # the relation is of the first object to the second
        along = (offset * axis[todo]).sum(1)
        across = (offset - along[:, None] * axis[todo]).norm(dim=1)
        wrong |= related[todo] & (along < 1.2 * across)
        todo = todo[wrong]
    return centre, radius


def _nearest_cells(centre: Tensor, present: Tensor) -> Tensor:
    """[B, 4] the object that each cell keeps; what is not present fills the cells that are left.

    The squared distances from objects to the middles of their cells sum to the least that is possible.
    """
    away = (centre[:, :, None] - CELLS).square().sum(-1) * present[..., None]  # [B, object, cell]
    orders = torch.tensor(list(itertools.permutations(range(SLOTS))))  # [24, cell] -> object
    cost = away[:, orders, torch.arange(SLOTS)].sum(-1)
    return orders[cost.argmin(1)]
