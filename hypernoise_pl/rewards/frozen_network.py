"""Frozen networks inside rewards: precision and activation checkpointing."""

from __future__ import annotations

import functools
from typing import Any, Literal

import torch
import torch.utils.checkpoint
from torch import nn

Precision = Literal["float32", "bfloat16", "float16"]


def freeze(network: nn.Module, dtype: Precision = "float32", checkpoint: bool = False) -> Any:
    """Freeze a transformers network; gradients still flow through it to its input.

    Args:
        network: network, changed in place.
        dtype: precision of weights and activations; a reward computes on the outputs in float32 (``at_least_float32``).
        checkpoint: keep only each layer's input and recompute the rest in the backward pass: less memory, about a third
            more time.

    Raises:
        ValueError: if the dtype is none of the three, or no layer can be checkpointed.
    """
    if dtype not in ("float32", "bfloat16", "float16"):
        raise ValueError(f"reward: dtype must be float32, bfloat16 or float16, got {dtype!r}")
    network.eval().requires_grad_(False).to(getattr(torch, dtype))
    if checkpoint:
        checkpoint_layers(network)
    return network


def checkpoint_layers(network: nn.Module) -> None:
    """Recompute every layer of a transformers network in the backward pass.

    transformers' own switch works only in training mode, where dropout is on.

    Raises:
        ValueError: if the network has no layer that transformers can recompute.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers = [module for module in network.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise ValueError(
            f"reward: checkpoint: a {type(network).__name__} has no layers to recompute; set checkpoint to false"
        )
    for layer in layers:
        layer.forward = functools.partial(_recomputed, layer.forward)


def _recomputed(forward: Any, *arguments: Any, **options: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*arguments, **options)
    # a frozen network draws no random numbers
    return torch.utils.checkpoint.checkpoint(
        forward, *arguments, use_reentrant=False, preserve_rng_state=False, **options
    )
