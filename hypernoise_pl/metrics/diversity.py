"""How different a prompt's images are from one another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from hypernoise_pl.types import check_images


def pairwise_distance(images: Tensor, prompts: Sequence[int]) -> list[float]:
    """Mean distance between two images of the same prompt, for every prompt that has several.

    Args:
        images: [B, 3, H, W].
        prompts: the B images' prompt indices, in any order.
    """
    check_images(images, len(prompts), values=False)
    index = torch.tensor(list(prompts), device=images.device)
    flat = images.detach().float().flatten(1)
    own = [flat[index == prompt] for prompt in dict.fromkeys(prompts)]
    return [(torch.pdist(rows).mean() / rows.shape[1] ** 0.5).item() for rows in own if len(rows) > 1]


class PairwiseDistance(Metric):
    """Mean distance between two images of the same prompt; the images of a prompt come in one update.

    The distance is the root of the mean squared difference of pixels, in [0, 1] for images in [0, 1]: alike at every
    resolution. Prompts count alike, however many images they have; a prompt with one image says nothing.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    total: Tensor
    prompts: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("prompts", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, images: Tensor, prompts: Sequence[int]) -> None:
        """Enter images.

        Args:
            images: [B, 3, H, W] in [0, 1].
            prompts: the B images' prompt indices, in any order.
        """
        found = pairwise_distance(images, prompts)
        self.total += sum(found)
        self.prompts += len(found)

    def compute(self) -> Tensor:
        """The mean over prompts; nan where no prompt had two images."""
        return (self.total / self.prompts).float()
