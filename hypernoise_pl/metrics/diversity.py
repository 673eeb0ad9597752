"""Diversity of the images of a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from statistics import fmean

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torchmetrics import Metric

from hypernoise_pl.types import check_images, check_shape


def diversity(features: Tensor, prompts: Sequence[int]) -> dict[str, float]:
    """Diversity of a prompt's images by their features: the mean over prompts with several images.

    Args:
        features: [N, D] features, not normalised, of any floating type.
        prompts: prompt index of each image, in any order.

    Returns:
        ``feature_distance``: the mean of 1 - cosine over pairs of a prompt's images, in [0, 2]; ``vendi``: the
        ``vendi_score``, from 1 to the number of a prompt's images. Both are NaN if no prompt has two images.
    """
    check_shape("features", features, (len(prompts), None))
    index = torch.tensor(list(prompts), device=features.device)
    own = [features[index == prompt] for prompt in dict.fromkeys(prompts)]
    several = [rows for rows in own if len(rows) > 1]
    if not several:
        return {"feature_distance": nan, "vendi": nan}
    return {
        "feature_distance": fmean(map(feature_distance, several)),
        "vendi": fmean(map(vendi_score, several)),
    }


def feature_distance(features: Tensor) -> float:
    """The mean of 1 - cosine over all pairs of at least two features [N, D]; 0 for equal directions."""
    unit = normalize(features.double(), dim=1)
    return (torch.pdist(unit).square().mean() / 2).item()


def vendi_score(features: Tensor) -> float:
    """The effective number of different images.

        vendi = exp(-sum_i l_i log l_i),  l: eigenvalues of K / N,  K: cosines of all pairs

    Args:
        features: [N, D] non-zero features, at least one.

    Returns:
        1 for equal directions, N for orthogonal features.

    Source: Friedman and Dieng 2023 (The Vendi Score), definition 3.1.
    """
    # K = X X^T: its eigenvalues are the squared singular values of X
    values = torch.linalg.svdvals(normalize(features.double(), dim=1) / len(features) ** 0.5).square()
    return torch.special.entr(values).sum().exp().item()


def pairwise_distance(images: Tensor, prompts: Sequence[int]) -> list[float]:
    """Mean distance between two images of the same prompt, for every prompt with several images.

    Args:
        images: [B, 3, H, W] images.
        prompts: prompt index of each image, in any order.
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
            prompts: prompt index of each image, in any order.
        """
        found = pairwise_distance(images, prompts)
        self.total += sum(found)
        self.prompts += len(found)

    def compute(self) -> Tensor:
        """The mean over prompts; nan where no prompt had two images."""
        return (self.total / self.prompts).float()
