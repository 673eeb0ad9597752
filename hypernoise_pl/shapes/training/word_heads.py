"""Dense lessons for a text encoder that looks at a picture: what each of a caption's words finds there.

Whether a caption is true is one bit. Word by word it falls apart into what is learnt in minutes: how many circles there
are, where and of what colour; whether colour and number are as said; how far the circle stands to the said side.
The heads here are for training only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypernoise_pl.shapes.caption import COLOURS, RELATIONS, SHAPES, Combination, plural
from hypernoise_pl.shapes.flaws import Slots
from hypernoise_pl.shapes.scene import AXES, PALETTE, SLOTS

_NOUN = (2, len(COLOURS), SLOTS + 1, 1)  # where, of what colour, how many, whether as said


class WordHeads(nn.Module):
    """Linear heads on the text tokens.

    Args:
        width: features of a token.
        tokenizer: of the captions.
    """

    def __init__(self, width: int, tokenizer: Any) -> None:
        super().__init__()
        self.noun = nn.Linear(width, sum(_NOUN))
        self.relation = nn.Linear(width, 1)
        shape_of = torch.full((len(tokenizer),), -1)
        nouns = [*SHAPES, *(plural(shape) for shape in SHAPES)]
        shape_of[tokenizer.convert_tokens_to_ids(nouns)] = torch.arange(len(SHAPES)).repeat(2)
        relates = torch.zeros(len(tokenizer), dtype=torch.bool)
        words = {word for phrases in RELATIONS.values() for phrase in phrases for word in phrase.split()}
        relates[tokenizer.convert_tokens_to_ids(sorted(words - {"of", "on", "the", "to"}))] = True
        self.register_buffer("shape_of", shape_of, persistent=False)
        self.register_buffer("relates", relates, persistent=False)

    def forward(
        self, layers: Sequence[Tensor], ids: Tensor, captions: Sequence[Combination], slots: Slots, picture: Tensor
    ) -> Tensor:
        """Loss of what the words say.

        Args:
            layers: [M, L, D] each; text tokens that look at their pictures, layer by layer.
            ids: [M, L] the words.
            captions: what they say.
            slots: of the pictures.
            picture: [M] which of them belongs to the caption.
        """
        seen = _Seen(slots, picture)
        # a relation compares what two nouns have found: they must have found it a layer earlier
        nouns = self._noun_loss(layers[-2], ids, captions, seen)
        return nouns + self._relation_loss(layers[-1], ids, captions, seen)

    def _noun_loss(self, states: Tensor, ids: Tensor, captions: Sequence[Combination], seen: _Seen) -> Tensor:
        named = self.shape_of[ids]  # type: ignore[index]  # [M, L], -1 where the word is no shape
        rows, columns = (named >= 0).nonzero(as_tuple=True)
        shape = named[rows, columns]
        place, paint, number, fits = self.noun(states[rows, columns]).float().split(_NOUN, -1)
        count = seen.count[rows, shape]
        here = count > 0
        said = torch.full((len(captions), len(SHAPES)), -1)
        exact = torch.tensor([len(c.shapes) if c.tag == "counting" else 0 for c in captions])[rows]
        for row, caption in enumerate(captions):
            for name, colour in zip(caption.shapes, caption.colours, strict=True):
                said[row, SHAPES.index(name)] = -1 if colour is None else list(COLOURS).index(colour)
        wanted = said[rows, shape]
        as_said = torch.where(wanted < 0, here, seen.colour[rows, shape, wanted.clamp(min=0)] > 0)
        as_said = torch.where(exact > 0, count == exact, as_said).float()
        loss = F.cross_entropy(number, count.long()) + F.cross_entropy(paint[here], seen.colour[rows, shape][here])
        loss = loss + 3 * F.mse_loss(place[here], seen.centre[rows, shape][here])
        return loss + F.binary_cross_entropy_with_logits(fits.squeeze(-1), as_said)

    def _relation_loss(self, states: Tensor, ids: Tensor, captions: Sequence[Combination], seen: _Seen) -> Tensor:
        rows = torch.tensor([row for row, caption in enumerate(captions) if caption.relation is not None])
        first, second = torch.tensor([[SHAPES.index(s) for s in captions[row].shapes] for row in rows.tolist()]).T
        axis = torch.tensor([AXES[str(captions[row].relation)] for row in rows.tolist()])
        along = ((seen.centre[rows, first] - seen.centre[rows, second]) * axis).sum(-1)
        both = (seen.count[rows, first] > 0) & (seen.count[rows, second] > 0)
        word = self.relates[ids[rows]].int().argmax(1)  # type: ignore[index]
        said = self.relation(states[rows, word]).float().squeeze(-1)
        return 5 * F.mse_loss(said[both], along[both])


class _Seen:
    """What captions' pictures hold, by shape.

    Attributes:
        count: [M, 6] objects of the shape.
        centre: [M, 6, 2] their mean place.
        colour: [M, 6, 8] the share of them that is nearest to each colour.
    """

    def __init__(self, slots: Slots, picture: Tensor) -> None:
        there = (slots.opacity > 0.5).float()[..., None]
        shape = F.one_hot(slots.shape.argmax(-1), len(SHAPES)) * there  # [B, 4, 6]
        colour = F.one_hot(torch.cdist(slots.rgb, PALETTE).argmin(-1), len(COLOURS)).float()
        count = shape.sum(1)
        share = shape / count.clamp(min=1)[:, None]
        self.count = count[picture]
        self.centre = torch.einsum("bsk,bsx->bkx", share, slots.centre)[picture]
        self.colour = torch.einsum("bsk,bsc->bkc", share, colour)[picture]
