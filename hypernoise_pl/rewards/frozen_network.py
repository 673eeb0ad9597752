"""How a frozen network runs inside a reward: in which precision, and with which activations kept."""

from __future__ import annotations

import functools
from typing import Any, Literal

import torch
import torch.utils.checkpoint
from torch import nn

Precision = Literal["float32", "bfloat16", "float16"]


def freeze(network: nn.Module, dtype: Precision = "float32", checkpoint: bool = False) -> Any:
    """A transformers network made ready to be differentiated through, and never trained.

    Args:
        network: changed in place.
        dtype: of its weights and activations. What a reward does with its outputs stays in float32 (see
            ``at_least_float32``).
        checkpoint: keep only each layer's input, and recompute the rest in backward: less memory, a third more time.

    Raises:
        ValueError: if the dtype is none of the three, or no layer is found to checkpoint.
    """
    if dtype not in ("float32", "bfloat16", "float16"):
        raise ValueError(f"reward: dtype must be float32, bfloat16 or float16, got {dtype!r}")
    network.eval().requires_grad_(False).to(getattr(torch, dtype))
    if checkpoint:
        checkpoint_layers(network)
    return network


def checkpoint_layers(network: nn.Module) -> None:
    """Recompute every layer of a transformers network in backward.

    transformers' own switch works in training mode alone, in which dropout is on.

    Raises:
        ValueError: if the network has no layer that transformers says may be recomputed.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers = [module for module in network.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise ValueError(f"reward: checkpoint: a {type(network).__name__} has no layers to recompute; set it to false")
    for layer in layers:
        layer.forward = functools.partial(_recomputed, layer.forward)


def _recomputed(forward: Any, *arguments: Any, **options: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*arguments, **options)
    # nothing is random in a frozen network
    return torch.utils.checkpoint.checkpoint(
        forward, *arguments, use_reentrant=False, preserve_rng_state=False, **options
    )
