"""Dense auxiliary losses for image towers: the object at each patch and the objects of the scene, for training only.

A reward's loss is one number per image; with it alone a small tower stays on a plateau for long and learns neither
attribute bindings nor positions. Losses per patch teach both in minutes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypernoise_pl.shapes.caption import COLOURS, SHAPES
from hypernoise_pl.shapes.flaws import Slots
from hypernoise_pl.shapes.scene import PALETTE, SLOTS

_PATCH = (
    len(SHAPES) + 1,
    len(COLOURS) + 1,
    2,
    SLOTS + 1,
)  # shape, colour, centre, objects of that shape
_SCENE = (
    len(SHAPES) * (SLOTS + 1),
    len(SHAPES) * len(COLOURS),
)  # objects of each shape, presence


class PatchHeads(nn.Module):
    """Linear heads on the tokens of an image tower.

    Args:
        width: features of a token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.patch = nn.Linear(width, sum(_PATCH))
        self.scene = nn.Linear(width, sum(_SCENE))

    def forward(self, tokens: Tensor, slots: Slots) -> Tensor:
        """Loss of predictions from tokens [B, 1 + T, D], the first of the whole image, against the true slots."""
        return self._patch_loss(tokens[:, 1:], slots) + self._scene_loss(tokens[:, 0], slots)

    def _patch_loss(self, tokens: Tensor, slots: Slots) -> Tensor:
        shape, colour, centre, alike = self.patch(tokens).float().split(_PATCH, -1)
        slot, covered = _covering(slots, tokens.shape[1])
        rows = torch.arange(len(slot))[:, None]
        of_shape, of_colour = slots.shape.argmax(-1), torch.cdist(slots.rgb, PALETTE).argmin(-1)
        there = slots.opacity > 0.5
        number = ((of_shape[:, :, None] == of_shape[:, None]) & there[:, None]).sum(-1)
        named = torch.where(covered, of_shape[rows, slot], len(SHAPES))
        painted = torch.where(covered, of_colour[rows, slot], len(COLOURS))
        loss = F.cross_entropy(shape.flatten(0, 1), named.flatten(), weight=_weights(len(SHAPES)))
        loss = loss + F.cross_entropy(colour.flatten(0, 1), painted.flatten(), weight=_weights(len(COLOURS)))
        loss = loss + 3 * F.mse_loss(centre[covered], slots.centre[rows, slot][covered])
        return loss + 0.5 * F.cross_entropy(alike[covered], number[rows, slot][covered])

    def _scene_loss(self, token: Tensor, slots: Slots) -> Tensor:
        numbers, kinds = self.scene(token).float().split(_SCENE, -1)
        there = (slots.opacity > 0.5).float()[..., None]
        of_shape = F.one_hot(slots.shape.argmax(-1), len(SHAPES)) * there  # [B, 4, 6]
        of_colour = F.one_hot(torch.cdist(slots.rgb, PALETTE).argmin(-1), len(COLOURS)).float()
        table = torch.einsum("bsk,bsc->bkc", of_shape, of_colour).flatten(1).clamp(max=1)
        loss = F.cross_entropy(numbers.unflatten(-1, (SLOTS + 1, -1)), of_shape.sum(1).long())
        return loss + 5 * F.binary_cross_entropy_with_logits(kinds, table)


def _covering(slots: Slots, patches: int) -> tuple[Tensor, Tensor]:
    """[B, T] the visible slot at the centre of each patch, and whether there is one."""
    side = round(patches**0.5)
    half = 1.0 / side
    line = torch.linspace(-1 + half, 1 - half, side)
    grid = torch.stack([line.repeat(side), -line.repeat_interleave(side)], -1)  # [T, 2], top row first
    near = (grid[None, :, None] - slots.centre[:, None]).norm(dim=-1) < slots.radius[:, None]
    near &= slots.opacity[:, None] > 0.5
    top = (near.int() * torch.arange(1, SLOTS + 1)).amax(-1)  # later slots are painted over earlier ones
    return (top - 1).clamp(min=0), top > 0


def _weights(kinds: int) -> Tensor:
    """Class weights; the background, which most patches show, counts little."""
    return torch.tensor([1.0] * kinds + [0.2])
