"""GenEval's score from verdicts: the share of correct images by tag, and the mean over tags."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from hypernoise_pl.types import check_shape, nearest

TAGS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")


class GenEval(Metric):
    """Tallies verdicts; batches and processes may be of any size.

    Args:
        tags: the kinds of prompt there are.

    Source: Ghosh et al. 2023 (GenEval), section 3.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    correct: Tensor
    judged: Tensor

    def __init__(self, tags: Sequence[str] = TAGS) -> None:
        super().__init__()
        self.tags = tuple(tags)
        for state in ("correct", "judged"):
            self.add_state(state, torch.zeros(len(self.tags), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, correct: Tensor, tags: Sequence[str]) -> None:
        """Enter verdicts.

        Args:
            correct: [B] bool.
            tags: the B images' tags.

        Raises:
            ValueError: if a tag is unknown, there is not one for each verdict, or verdicts are no booleans.
        """
        check_shape("correct", correct, (len(tags),))
        if correct.dtype != torch.bool:
            raise ValueError(f"correct must be bool, got {correct.dtype}; compare scores with a threshold")
        for tag in tags:
            if tag not in self.tags:
                raise ValueError(f"no tag {tag!r} in GenEval{nearest(tag, self.tags)}; tags: {', '.join(self.tags)}")
        place = torch.tensor([self.tags.index(tag) for tag in tags], dtype=torch.long, device=self.judged.device)
        self.correct.index_add_(0, place, correct.to(self.correct))
        self.judged.index_add_(0, place, torch.ones_like(place))

    def compute(self) -> dict[str, Tensor]:
        """``mean`` over the tags seen, and each one's share; shares are in [0, 1], ``mean`` of nothing is nan."""
        seen = self.judged > 0
        share = self.correct / self.judged.clamp(min=1)
        return {"mean": share[seen].mean(), **{self.tags[i]: share[i] for i in seen.nonzero().flatten().tolist()}}
