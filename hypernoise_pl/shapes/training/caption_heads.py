"""The text encoder's own lesson: to say what a caption states.

Real generators start from a text encoder that has read the web; this one reads captions until it understands them, and
stays as it is. Left to the generator's loss it would never learn on which side an object stands: which shape, which
side and which place in the picture have to be known together before any two of them tell anything.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypernoise_pl.shapes.caption import COLOURS, SHAPES, Combination
from hypernoise_pl.shapes.scene import AXES, SLOTS

_COLOUR = len(COLOURS) + 1  # the last one stands for unsaid
_ROLE = (len(SHAPES) + 1, _COLOUR, 2)  # which shape (or none), its colour, on which side it stands
_SHAPE = (1, _COLOUR, 2)  # whether there is one, its colour, on which side it stands


class CaptionHeads(nn.Module):
    """Linear heads on the words of a causal encoder, of which the last has read the whole caption.

    Every word names what is mentioned first and what is mentioned second, each with its colour and its side, and the
    number of objects: that can be read off the words, and so is read off captions never met. The last word names the
    same by shape, as a picture needs it.

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
        """What features [B, L, D] with mask [B, L] of texts say of the captions that were put into these words.

        Returns:
            The loss, and [B] whether all was understood.
        """
        stated = zip(*map(_stated, texts, captions), strict=True)
        shapes, colours, sides = (torch.stack(parts) for parts in stated)
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


def _stated(text: str, caption: Combination) -> tuple[Tensor, Tensor, Tensor]:
    """Of what is mentioned first and second: [2] the shape, [2] its colour, [2, 2] the axis it is displaced along."""
    shapes, colours = torch.full((2,), len(SHAPES)), torch.full((2,), len(COLOURS))
    sides = torch.zeros(2, 2)
    kinds = list(dict.fromkeys(zip(caption.shapes, caption.colours, strict=True)))
    if len(kinds) > 1:
        kinds.sort(key=lambda kind: text.split().index(kind[0]))
    for place, (shape, colour) in enumerate(kinds):
        shapes[place] = SHAPES.index(shape)
        if colour is not None:
            colours[place] = list(COLOURS).index(colour)
        if caption.relation is not None:
            sides[place] = torch.tensor(AXES[caption.relation]) * (1 - 2 * place)
    return shapes, colours, sides
