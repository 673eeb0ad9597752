"""How far one set of images is from another, by their features."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.image.kid import poly_kernel, poly_mmd

from hypernoise_pl.types import check_shape


def kernel_distance(real: Tensor, other: Tensor, paired: bool = False) -> float:
    """KID: the unbiased squared maximum mean discrepancy of features under a cubic kernel; about 0 for equal laws.

    Args:
        real: [M, D] features, two at least.
        other: [N, D] features, two at least.
        paired: whether the sets are made in pairs, as two methods' images of the same noises are: images of a pair are
            alike even where the laws are equal, so that pairs are left out of the estimate, which they would bias.

    Raises:
        ValueError: if the features differ in length, or paired sets in number.

    Source: Binkowski et al. 2018, on whatever features are given instead of Inception's; of pairs, the U-statistic of
    Gretton et al. 2012, lemma 6.
    """
    check_shape("other", other, (len(real) if paired else None, real.shape[1]))
    if paired:
        between = poly_kernel(real.double(), other.double())
        count = len(real)
        apart = (between.sum() - between.trace()) / (count * (count - 1))
        return float(poly_mmd(real.double(), other.double()) + 2 * (between.mean() - apart))
    # torchmetrics' estimate wants sets of one size
    size = min(len(real), len(other))
    draws = torch.Generator().manual_seed(0)
    real, other = (x[torch.randperm(len(x), generator=draws)[:size].to(x.device)] for x in (real, other))
    return float(poly_mmd(real.double(), other.double()))
