"""How many floating point operations a piece of work takes, and how many a second a device can do."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

# Dense TFLOP/s in bfloat16 with sums in float32, from the vendor's data sheets (half of those given with sparsity). The
# first name counts whose whole words stand in the device's.
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
UNLISTED = re.compile(r"\b(MIG|Laptop|D)\b")  # parts of a GPU, and slower ones of the same name
_aten: Any = torch.ops.aten


class CountFlops(TorchDispatchMode):
    """Counts what runs under it: products of matrices, convolutions and attention, forward and backward.

    A multiplication and an addition are two operations. What a backward recomputes of a forward whose activations were
    not kept (activation checkpointing) is left out: the model's own operations are counted. A gradient that is not
    computed, as that of frozen weights, does not count either.

    Attributes:
        total: operations so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count an operation, or those that it is made of."""
        kwargs = kwargs or {}
        formula = _formula(function)
        if formula is None:
            if function is not torch.ops.prim.device.default:
                with self:
                    made_of = function.decompose(*args, **kwargs)
                if made_of is not NotImplemented:
                    return made_of
            return function(*args, **kwargs)
        out = function(*args, **kwargs)
        # a backward runs without gradients, but for a forward that is recomputed in it
        recomputes = torch._C._current_graph_task_id() != -1 and torch.is_grad_enabled()
        if not recomputes:
            self.total += formula(*args, **kwargs, out_val=out)
        return out


def peak_flops(device: str) -> float | None:
    """Operations a second of a GPU, dense in bfloat16, by its name; None where that is not known."""
    if UNLISTED.search(device):
        return None
    return next((1e12 * peak for name, peak in PEAKS.items() if re.search(rf"\b{name}\b", device)), None)


def _formula(function: Any) -> Any:
    packet = function._overloadpacket
    if packet is _aten._scaled_dot_product_flash_attention_for_cpu:  # PyTorch's list has the GPUs' kernels alone
        return lambda query, key, value, *_, **__: sdpa_flop_count(query.shape, key.shape, value.shape)
    if packet is _aten._scaled_dot_product_flash_attention_for_cpu_backward:
        return lambda gradient, query, key, value, *_, **__: sdpa_backward_flop_count(
            gradient.shape, query.shape, key.shape, value.shape
        )
    return flop_registry.get(packet)
