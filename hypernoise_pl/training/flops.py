"""Floating point operations of a computation, and peak rates of GPUs."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

# Dense TFLOP/s in bfloat16 with float32 accumulation, from the vendor's data sheets (half of the sparse figures). The
# first name whose words all occur in the device's name is used.
PEAKS = {
    "B200": 2250.0,
    "GH200": 989.4,
    "H200 NVL": 835.5,
    "H200": 989.4,
    "H100 NVL": 835.5,
    "H100 PCIe": 756.0,
    "H100": 989.4,
    "A100": 312.0,
    "A40": 149.7,
    "A10": 125.0,
    "L40S": 362.0,
    "L40": 181.0,
    "L4": 121.0,
    "RTX 6000 Ada": 364.2,
    "RTX A6000": 154.8,
    "RTX 5090": 209.5,
    "RTX 4090": 165.2,
    "RTX 3090 Ti": 80.0,
    "RTX 3090": 71.0,
}
UNLISTED = re.compile(r"\b(MIG|Laptop|D)\b")  # GPU partitions, and slower GPUs of the same name
_aten: Any = torch.ops.aten


class CountFlops(TorchDispatchMode):
    """Counts the operations of matrix products, convolutions and attention, forward and backward, within its context.

    A multiplication and an addition are two operations. Operations that activation checkpointing repeats in backward do
    not count. Gradients that are not computed, such as those of frozen weights, do not count.

    Attributes:
        total: number of operations so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count an operation, or the operations that it decomposes into."""
        kwargs = kwargs or {}
        formula = _formula(function)
        if formula is None:
            if function is not torch.ops.prim.device.default:
                with self:
                    parts = function.decompose(*args, **kwargs)
                if parts is not NotImplemented:
                    return parts
            return function(*args, **kwargs)
        out = function(*args, **kwargs)
        # backward runs without gradients, except for a forward that it recomputes
        recomputes = torch._C._current_graph_task_id() != -1 and torch.is_grad_enabled()
        if not recomputes:
            self.total += formula(*args, **kwargs, out_val=out)
        return out


def peak_flops(device: str) -> float | None:
    """The dense bfloat16 operations per second of a GPU, by its name; None if unknown."""
    if UNLISTED.search(device):
        return None
    return next((1e12 * peak for name, peak in PEAKS.items() if re.search(rf"\b{name}\b", device)), None)


def _formula(function: Any) -> Any:
    packet = function._overloadpacket
    if packet is _aten._scaled_dot_product_flash_attention_for_cpu:  # PyTorch registers only the GPU kernels
        return lambda query, key, value, *_, **__: sdpa_flop_count(query.shape, key.shape, value.shape)
    if packet is _aten._scaled_dot_product_flash_attention_for_cpu_backward:
        return lambda gradient, query, key, value, *_, **__: sdpa_backward_flop_count(
            gradient.shape, query.shape, key.shape, value.shape
        )
    return flop_registry.get(packet)
