"""Heads that predict a caption's facts from the text encoder's features, for training only.

Published generators start from a pretrained text encoder; this one is trained on captions and then frozen. The
generator's loss alone does not teach relations: shape, side and position are informative only together.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypernoise_pl.shapes.caption import COLOURS, SHAPES, Combination
from hypernoise_pl.shapes.scene import AXES, SLOTS

_COLOUR = len(COLOURS) + 1  # the last class is "not stated"
_ROLE = (len(SHAPES) + 1, _COLOUR, 2)  # shape or none, colour, axis of displacement
_SHAPE = (1, _COLOUR, 2)  # presence, colour, axis of displacement


class CaptionHeads(nn.Module):
    """Linear heads on the tokens of a causal text encoder, whose last token has read the complete caption.

    Every token predicts the first and the second mentioned object, each with colour and side, and the number of
    objects. The last token also predicts presence, colour and side by shape.

    Args:
        width: features of a token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.by_role = nn.Linear(width, 2 * sum(_ROLE) + SLOTS + 1)
        self.by_shape = nn.Linear(width, len(SHAPES) * sum(_SHAPE))

    def forward(
        self, embeddings: Tensor, mask: Tensor, texts: Sequence[str], captions: Sequence[Combination]
    ) -> tuple[Tensor, Tensor]:
        """Compute the loss.

        Args:
            embeddings: [B, L, D] features of the texts.
            mask: [B, L] mask of the texts.
            texts: B texts.
            captions: facts of the texts.

        Returns:
            The loss, and [B] whether all facts are predicted correctly.
        """
        targets = zip(*map(_targets, texts, captions), strict=True)
        shapes, colours, sides = (torch.stack(parts) for parts in targets)
        numbers = torch.tensor([len(c.shapes) for c in captions])
        rows, words = mask.nonzero(as_tuple=True)
        last = words == mask.sum(1)[rows] - 1
        roles, number = self.by_role(embeddings[rows, words]).split((2 * sum(_ROLE), SLOTS + 1), -1)
        shape, colour, side = roles.unflatten(-1, (2, -1)).split(_ROLE, -1)
        loss = F.cross_entropy(shape.flatten(0, 1), shapes[rows].flatten()) + F.cross_entropy(number, numbers[rows])
        loss = loss + F.cross_entropy(colour.flatten(0, 1), colours[rows].flatten()) + F.mse_loss(side, sides[rows])
        number_right = number[last].argmax(-1) == numbers
        there, colour, side = (
            self.by_shape(embeddings[rows, words][last]).unflatten(-1, (-1, sum(_SHAPE))).split(_SHAPE, -1)
        )
        kinds = F.one_hot(shapes, len(SHAPES) + 1)[..., :-1]  # [B, 2, 6]
        named = kinds.sum(1).bool()
        colours, sides = (kinds * colours[..., None]).sum(1)[named], torch.einsum("brk,brx->bkx", kinds.float(), sides)
        loss = loss + 3 * F.binary_cross_entropy_with_logits(there.squeeze(-1), named.float())
        loss = loss + F.cross_entropy(colour[named], colours) + 3 * F.mse_loss(side, sides)
        wrong = (there.squeeze(-1) > 0) != named
        wrong |= (side - sides).abs().amax(-1) > 0.5
        wrong[named] |= colour[named].argmax(-1) != colours
        return loss, number_right & ~wrong.any(1)


def _targets(text: str, caption: Combination) -> tuple[Tensor, Tensor, Tensor]:
    """For the first and second mentioned object: [2] shapes, [2] colours, [2, 2] axes of displacement."""
    shapes, colours = torch.full((2,), len(SHAPES)), torch.full((2,), len(COLOURS))
    sides = torch.zeros(2, 2)
    kinds = list(dict.fromkeys(zip(caption.shapes, caption.colours, strict=True)))
    if len(kinds) > 1:
        kinds.sort(key=lambda kind: text.split().index(kind[0]))
    for role, (shape, colour) in enumerate(kinds):
        shapes[role] = SHAPES.index(shape)
        if colour is not None:
            colours[role] = list(COLOURS).index(colour)
        if caption.relation is not None:
            sides[role] = torch.tensor(AXES[caption.relation]) * (1 - 2 * role)
    return shapes, colours, sides
