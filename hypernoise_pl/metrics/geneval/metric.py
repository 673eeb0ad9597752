"""GenEval's score from verdicts: the share of correct images by tag, and the mean over tags."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from hypernoise_pl.data.geneval import TAGS
from hypernoise_pl.types import check_shape, did_you_mean


class GenEval(Metric):
    """Share of correct images by tag and its mean over tags; batches and processes may have any size.

    Args:
        tags: all tags.

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
        """Add verdicts.

        Args:
            correct: [B] booleans.
            tags: tag of each image.

        Raises:
            ValueError: if a tag is unknown, the numbers differ, or verdicts are not booleans.
        """
        check_shape("correct", correct, (len(tags),))
        if correct.dtype != torch.bool:
            raise ValueError(f"correct must be bool, got {correct.dtype}; compare scores with a threshold")
        for tag in tags:
            if tag not in self.tags:
                raise ValueError(
                    f"no tag {tag!r} in GenEval{did_you_mean(tag, self.tags)}; tags: {', '.join(self.tags)}"
                )
        place = torch.tensor([self.tags.index(tag) for tag in tags], dtype=torch.long, device=self.judged.device)
        self.correct.index_add_(0, place, correct.to(self.correct))
        self.judged.index_add_(0, place, torch.ones_like(place))

    def compute(self) -> dict[str, Tensor]:
        """``mean`` over tags with verdicts, and the share of each; ``mean`` is NaN without verdicts."""
        present = self.judged > 0
        share = self.correct / self.judged.clamp(min=1)
        return {"mean": share[present].mean(), **{self.tags[i]: share[i] for i in present.nonzero().flatten().tolist()}}
