"""Tensor dtypes between half-precision networks."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """Convert a tensor to float32 if its dtype has fewer bits.

    Networks may compute in half precision. It is too coarse for sums, norms, scores and the sampler's arithmetic
    between two evaluations; diffusers' pipelines compute those in float32 too.
    """
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
