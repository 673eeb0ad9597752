"""Precision and recall of a set of images by nearest neighbours of their features."""

from __future__ import annotations

import torch
from torch import Tensor

from hypernoise_pl.types import check_shape

NEIGHBOURS = 3  # the paper's k
AT_ONCE = 512  # rows of distances in memory
ROUNDING = 1e-12  # of a squared distance in double precision, as a share of the largest squared feature


def precision_and_recall(real: Tensor, other: Tensor, neighbours: int = NEIGHBOURS) -> tuple[float, float]:
    """Precision, the share of other images within the real set, and recall, the share of real images within the other.

    An image is within a set if its distance to some member is at most that member's distance to its k-th neighbour.

    Args:
        real: [M, D] features, with M above ``neighbours``.
        other: [N, D] features, with N above ``neighbours``.
        neighbours: k.

    Returns:
        Precision and recall, in [0, 1].

    Raises:
        ValueError: if the features differ in length, or a set has too few.

    Source: Kynkäänniemi et al. 2019, section 2.
    """
    check_shape("other", other, (None, real.shape[1]))
    if min(len(real), len(other)) <= neighbours:
        raise ValueError(
            f"precision and recall: {neighbours} neighbours need {neighbours + 1} images of each set, got {len(real)} "
            f"and {len(other)}"
        )
    centre = real.double().mean(0)
    real, other = real.double() - centre, other.double() - centre
    return _share_within(other, real, neighbours), _share_within(real, other, neighbours)


def _share_within(images: Tensor, others: Tensor, neighbours: int) -> float:
    """The share of images that lie in the ball around any of the others."""
    radii = torch.cat([_squares(part, others).kthvalue(neighbours + 1).values for part in others.split(AT_ONCE)])
    # equal features lie within a radius of 0, whatever the rounding of their distance
    radii = radii + ROUNDING * max(images.square().sum(1).max(), others.square().sum(1).max())
    within = [(_squares(part, others) <= radii).any(1) for part in images.split(AT_ONCE)]
    return torch.cat(within).double().mean().item()


def _squares(one: Tensor, two: Tensor) -> Tensor:
    """Squared distances, by a product of matrices, which is many times as fast as by differences."""
    return one.square().sum(1)[:, None] + two.square().sum(1) - 2 * one @ two.T
