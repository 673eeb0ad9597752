"""Sharding of a network over processes with FSDP2; the only file that uses a device mesh.

Each process holds a shard of every block's weights. A block is gathered only while it is evaluated or differentiated.
Generator and hypernetwork are two module trees over the same Parameters, but FSDP2 gathers weights before one module's
``forward`` and reshards them after it. Each block of the view and its twin in the generator are therefore one FSDP2
unit: the twin becomes a child of the view's block, FSDP2 finds the shared Parameters there, and both forward passes
enter through the view's block. (FSDP2 refuses two units that own the same Parameters. With ``fully_shard([a, b])`` all
blocks would stay gathered from the first tree's pass to the second's.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

if TYPE_CHECKING:  # imported on use: attaching an adapter does not need these slow imports
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import DTensor


def shard(network: nn.Module, view: nn.Module, mesh: DeviceMesh, root_blocks: Sequence[str] = ()) -> None:
    """Shard a network and its LoRA view over processes, block by block; a sharded view is left unchanged.

    The LoRA, its gradient (the mean over processes) and the optimiser's state are sharded too. After this call, every
    evaluation needs all processes.

    Args:
        network: frozen network of the generator.
        view: tied view of the network with LoRA; it becomes FSDP2's root unit.
        mesh: device mesh of one dimension, over the processes that split the data.
        root_blocks: names of blocks that belong to the root unit, with the weights outside all blocks.

    Raises:
        ValueError: if the network has no list of blocks.
    """
    from torch.distributed.fsdp import FSDPModule

    if isinstance(view, FSDPModule):
        return
    for name in block_names(network):
        if name in root_blocks:
            continue
        _shard_pair(network.get_submodule(name), view.get_submodule(name), mesh, set())
    _shard_pair(network, view, mesh, {p for p in view.parameters() if is_sharded(p)})


def block_names(network: nn.Module) -> list[str]:
    """The names of the blocks that are gathered one at a time; all other weights form the root unit.

    Blocks are the entries of the network's module lists (FLUX has two; a UNet has one down and one up), and other
    children at least as large as the smallest entry (the middle block of a UNet).

    Raises:
        ValueError: if the network has no module list.
    """
    sizes = {f"{name}.{index}": _size(block) for name, blocks in _lists(network) for index, block in blocks}
    sizes = {name: size for name, size in sizes.items() if size}
    if not sizes:
        raise ValueError(f"{type(network).__name__} has no list of blocks to shard over processes; use strategy/ddp")
    smallest = min(sizes.values())
    others = (name for name, child in network.named_children() if not isinstance(child, nn.ModuleList | nn.ModuleDict))
    return [*sizes, *(name for name in others if _size(network.get_submodule(name)) >= smallest)]


def _lists(network: nn.Module) -> Iterator[tuple[str, Iterator[tuple[str, nn.Module]]]]:
    for name, child in network.named_children():
        if isinstance(child, nn.ModuleList):
            yield name, child.named_children()


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _shard_pair(plain: nn.Module, adapted: nn.Module, mesh: DeviceMesh, sharded: set[Any]) -> None:
    """Make two twin modules one FSDP2 unit, gathered and resharded whenever either of them is evaluated.

    Args:
        plain: module in the generator's tree.
        adapted: its twin in the view's tree.
        mesh: device mesh of the processes.
        sharded: Parameters that other units hold already.
    """
    from torch.distributed.fsdp import fully_shard

    adapted.plain_twin = plain
    fully_shard(adapted, mesh=mesh, reshard_after_forward=True, ignored_params=sharded)
    with_lora, without = adapted.forward, plain.forward

    def unit_forward(*args: Any, _plain: bool = False, **kwargs: Any) -> Any:
        output = (without if _plain else with_lora)(*args, **kwargs)
        return tree_map_only(Tensor, _clone_view, output)

    def plain_forward(*args: Any, **kwargs: Any) -> Any:
        return adapted(*args, _plain=True, **kwargs)

    adapted.forward, plain.forward = unit_forward, plain_forward  # type: ignore[method-assign, assignment]


def _clone_view(tensor: Tensor) -> Tensor:
    """Clone a view: FSDP2 hooks a unit's outputs for backward, and in-place writes to a view would drop the hooks."""
    return tensor.clone() if tensor._is_view() else tensor


def is_sharded(tensor: Any) -> TypeGuard[DTensor]:
    """Whether this process holds only its shard of a tensor."""
    return hasattr(tensor, "full_tensor")  # only PyTorch's DTensor has it


def gather(tensor: Tensor) -> Tensor:
    """Return the full tensor; if it is sharded, all processes must call this together."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def local_shard(value: Any, like: Tensor) -> Any:
    """Shard a full tensor like another one of its shape; any other value is returned unchanged."""
    if not (isinstance(value, Tensor) and is_sharded(like) and like.shape == value.shape):
        return value
    from torch.distributed.tensor import distribute_tensor

    tensor = value.to(like.device)
    return distribute_tensor(
        tensor, like.device_mesh, like.placements, src_data_rank=None
    )  # every process has the tensor: nothing is sent


def gradients(value: Tensor, weights: Sequence[nn.Parameter]) -> list[Tensor | None]:
    """The gradients of a value; None for weights that it does not depend on, the mean over processes for sharded ones.

    For a sharded weight this process gets its local shard of the gradient, a plain tensor. FSDP2 writes that gradient
    only to ``weight.grad``, which must be None before.
    """
    if not any(is_sharded(weight) for weight in weights):
        return list(torch.autograd.grad(value, weights, allow_unused=True))
    value.backward()  # type: ignore[no-untyped-call]
    result = [weight.grad.to_local() if is_sharded(weight.grad) else weight.grad for weight in weights]
    for weight in weights:
        weight.grad = None
    return result
