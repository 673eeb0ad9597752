"""A reward that does not mind a picture's place on the pixel grid."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from hypernoise_pl.rewards.base import Reward


class ShiftAveraged(Reward):
    """The mean of a reward over four shifts of the picture, its border repeated.

    A vision transformer cuts a picture into patches, and feels where the cuts fall: its score, and much more its
    gradient, change when nothing but the place on the grid does. Averaged over half a patch each way, that part
    cancels and what the picture shows remains. Four evaluations of the reward.

    Args:
        reward: any differentiable reward.
        pixels: of each shift, left, right, up and down; a quarter of the patch is good.
    """

    score_range: ClassVar[tuple[float, float]] = (float("-inf"), float("inf"))  # those of the reward it averages

    def __init__(self, reward: Reward, pixels: int = 2) -> None:
        super().__init__()
        if pixels < 1:
            raise ValueError(f"pixels must be at least 1, got {pixels}")
        self.reward, self.pixels = reward, pixels

    def _score(self, images: Tensor, prompts: list[str]) -> Tensor:
        step = self.pixels
        height, width = images.shape[-2:]
        wide = F.pad(images, (step,) * 4, mode="replicate")
        corners = [(top, left) for top in (0, 2 * step) for left in (0, 2 * step)]
        scores = [self.reward(wide[..., t : t + height, s : s + width], prompts) for t, s in corners]
        return sum(scores[1:], scores[0]) / len(scores)
