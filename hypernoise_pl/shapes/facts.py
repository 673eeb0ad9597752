"""Exact truth of captions for scenes, vectorised."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hypernoise_pl.shapes.caption import COLOURS, SHAPES, Combination
from hypernoise_pl.shapes.scene import AXES, PALETTE, Scenes


def caption_truth(scenes: Scenes, captions: Sequence[Combination]) -> Tensor:
    """[B, M] booleans: whether caption m is true of scene b."""
    kind = len(COLOURS) * scenes.shape + torch.cdist(scenes.rgb, PALETTE).argmin(-1)  # [B, 4]
    cells = len(SHAPES) * len(COLOURS)
    table = torch.zeros(len(scenes), cells).scatter_add_(1, kind, scenes.present.float())
    by_shape = table.view(-1, len(SHAPES), len(COLOURS)).sum(2)
    count = torch.cat([table, by_shape], 1)  # [B, 48 + 6]

    def column(shape: str, colour: str | None) -> int:
        place = SHAPES.index(shape)
        return cells + place if colour is None else len(COLOURS) * place + list(COLOURS).index(colour)

    truth = torch.ones(len(scenes), len(captions), dtype=torch.bool)
    needed = [[column(s, c) for s, c in zip(m.shapes[:2], m.colours[:2])] for m in captions]
    for place in range(2):
        columns = torch.tensor([n[min(place, len(n) - 1)] for n in needed])
        truth &= count[:, columns] >= 1
    exact = torch.tensor([m.tag == "counting" for m in captions])
    wanted = torch.tensor([len(m.shapes) for m in captions])
    truth &= ~exact | (count[:, [n[0] for n in needed]] == wanted)
    for index, caption in enumerate(captions):
        if caption.relation is not None:
            truth[:, index] &= _relation_holds(scenes, caption)
    return truth


def _relation_holds(scenes: Scenes, caption: Combination) -> Tensor:
    """[B] whether the relation holds between all objects of the first shape and all of the second."""
    first, second = (scenes.present & (scenes.shape == SHAPES.index(name)) for name in caption.shapes)
    offset = scenes.centre[:, :, None] - scenes.centre[:, None]
    along = (offset * torch.tensor(AXES[str(caption.relation)])).sum(-1)
    pair = first[:, :, None] & second[:, None, :]
    return ((along > 0.5 * offset.norm(dim=-1)) | ~pair).flatten(1).all(1)
