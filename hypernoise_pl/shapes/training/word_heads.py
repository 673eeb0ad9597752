"""Dense auxiliary losses for a text encoder with cross-attention to an image, for training only.

The truth of a caption is one bit. Its words give denser targets: the number, position and colour of the objects of a
shape, whether colour and number match the caption, and the offset along the axis of a relation.
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

_NOUN = (2, len(COLOURS), SLOTS + 1, 1)  # centre, colour, number, whether the caption is true of it


class WordHeads(nn.Module):
    """Linear heads on the text tokens.

    Args:
        width: features of a token.
        tokenizer: tokenizer of the captions.
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
        """Loss of the predictions from all words.

        Args:
            layers: states [M, L, D] of the text tokens after each layer.
            ids: [M, L] token ids.
            captions: M captions.
            slots: objects of the images.
            picture: [M] index of each caption's image.
        """
        truth = _ShapeFacts(slots, picture)
        # a relation compares two nouns, whose positions must be known one layer earlier
        nouns = self._noun_loss(layers[-2], ids, captions, truth)
        return nouns + self._relation_loss(layers[-1], ids, captions, truth)

    def _noun_loss(self, states: Tensor, ids: Tensor, captions: Sequence[Combination], truth: _ShapeFacts) -> Tensor:
        named = self.shape_of[ids]  # type: ignore[index]  # [M, L], -1 for words that are no shape
        rows, columns = (named >= 0).nonzero(as_tuple=True)
        shape = named[rows, columns]
        centre, paint, number, match = self.noun(states[rows, columns]).float().split(_NOUN, -1)
        count = truth.count[rows, shape]
        here = count > 0
        stated = torch.full((len(captions), len(SHAPES)), -1)
        exact = torch.tensor([len(c.shapes) if c.tag == "counting" else 0 for c in captions])[rows]
        for row, caption in enumerate(captions):
            for name, colour in zip(caption.shapes, caption.colours, strict=True):
                stated[row, SHAPES.index(name)] = -1 if colour is None else list(COLOURS).index(colour)
        wanted = stated[rows, shape]
        is_true = torch.where(wanted < 0, here, truth.colour[rows, shape, wanted.clamp(min=0)] > 0)
        is_true = torch.where(exact > 0, count == exact, is_true).float()
        loss = F.cross_entropy(number, count.long()) + F.cross_entropy(paint[here], truth.colour[rows, shape][here])
        loss = loss + 3 * F.mse_loss(centre[here], truth.centre[rows, shape][here])
        return loss + F.binary_cross_entropy_with_logits(match.squeeze(-1), is_true)

    def _relation_loss(
        self, states: Tensor, ids: Tensor, captions: Sequence[Combination], truth: _ShapeFacts
    ) -> Tensor:
        rows = torch.tensor([row for row, caption in enumerate(captions) if caption.relation is not None])
        first, second = torch.tensor([[SHAPES.index(s) for s in captions[row].shapes] for row in rows.tolist()]).T
        axis = torch.tensor([AXES[str(captions[row].relation)] for row in rows.tolist()])
        along = ((truth.centre[rows, first] - truth.centre[rows, second]) * axis).sum(-1)
        both = (truth.count[rows, first] > 0) & (truth.count[rows, second] > 0)
        word = self.relates[ids[rows]].int().argmax(1)  # type: ignore[index]
        predicted = self.relation(states[rows, word]).float().squeeze(-1)
        return 5 * F.mse_loss(predicted[both], along[both])


class _ShapeFacts:
    """Objects in the images of M captions, by shape.

    Attributes:
        count: [M, 6] numbers of objects.
        centre: [M, 6, 2] mean centres.
        colour: [M, 6, 8] shares of the objects nearest to each colour.
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
