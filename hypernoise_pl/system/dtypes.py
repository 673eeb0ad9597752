"""Tensor dtypes between networks of half precision."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """The tensor in float32 if its own dtype has fewer bits.

    Networks may compute in half precision. Sums, norms, scores and a sampler's arithmetic between two evaluations are
    too coarse in it; diffusers' pipelines compute those in float32 too.
    """
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
