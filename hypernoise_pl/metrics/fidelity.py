"""How far one set of images is from another, by their features."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.image.kid import poly_mmd

from hypernoise_pl.types import check_shape


def kernel_distance(real: Tensor, other: Tensor) -> float:
    """KID: the unbiased squared maximum mean discrepancy of features under a cubic kernel; about 0 for equal laws.

    Args:
        real: [M, D] features, two at least.
        other: [N, D] features, two at least.

    Raises:
        ValueError: if the features differ in length.

    Source: Binkowski et al. 2018, on whatever features are given instead of Inception's.
    """
    check_shape("other", other, (None, real.shape[1]))
    # torchmetrics' estimate wants sets of one size
    size = min(len(real), len(other))
    draws = torch.Generator().manual_seed(0)
    real, other = (x[torch.randperm(len(x), generator=draws)[:size].to(x.device)] for x in (real, other))
    return float(poly_mmd(real.double(), other.double()))
