"""One network spread over processes with FSDP2: the only file that knows a mesh of devices.

Each process holds its share of every block's weights; a block is whole for as long as it is evaluated or
differentiated. Generator and hypernetwork are two module trees over the same Parameters, while FSDP2 gathers weights
before one module's ``forward`` and gives them back after it. So a block of the view and its twin in the generator are
one unit: the twin becomes a child of the view's block, where FSDP2 finds which Parameters they share, and both are
entered through the view's block. (Two units would each own the Parameters, which FSDP2 refuses; with
``fully_shard([a, b])`` every block would stay whole from the first tree's pass to the second's, all of them at once.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

if TYPE_CHECKING:  # loaded where they are needed: whoever only attaches an adapter would wait for them
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import DTensor


def shard(network: nn.Module, view: nn.Module, mesh: DeviceMesh, root_blocks: Sequence[str] = ()) -> None:
    """Spread a network and its LoRA view over processes, block by block; nothing happens to those that are.

    The LoRA is spread too, hence its gradient (the mean over processes) and the optimiser's state. From here on every
    evaluation is one of all processes together.

    Args:
        network: of the generator, frozen.
        view: a tied view of it with LoRA; it becomes FSDP2's root, through which both are evaluated.
        mesh: of one dimension, the processes among which data is split.
        root_blocks: names of blocks that are not gathered alone, but with all that is in no block.

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
    """Names of the parts that are gathered one at a time; what is left is one part more.

    These are the entries of the network's own lists (FLUX has two, a UNet one down and one up), and whatever else is at
    least as large as the smallest of them (a UNet's middle).

    Raises:
        ValueError: if there is no list.
    """
    sizes = {f"{name}.{place}": _size(block) for name, blocks in _lists(network) for place, block in blocks}
    sizes = {name: size for name, size in sizes.items() if size}
    if not sizes:
        raise ValueError(f"{type(network).__name__} has no list of blocks to spread over processes; use strategy/ddp")
    least = min(sizes.values())
    others = (name for name, child in network.named_children() if not isinstance(child, nn.ModuleList | nn.ModuleDict))
    return [*sizes, *(name for name in others if _size(network.get_submodule(name)) >= least)]


def _lists(network: nn.Module) -> Iterator[tuple[str, Iterator[tuple[str, nn.Module]]]]:
    for name, child in network.named_children():
        if isinstance(child, nn.ModuleList):
            yield name, child.named_children()


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _shard_pair(plain: nn.Module, adapted: nn.Module, mesh: DeviceMesh, sharded: set[Any]) -> None:
    """Make FSDP2 gather and give back what two twins hold whenever either is evaluated.

    Args:
        plain: in the generator's tree.
        adapted: in the view's tree.
        mesh: of processes.
        sharded: Parameters that other units hold already.
    """
    from torch.distributed.fsdp import fully_shard

    adapted.plain_twin = plain
    fully_shard(adapted, mesh=mesh, reshard_after_forward=True, ignored_params=sharded)
    with_lora, without = adapted.forward, plain.forward

    def either(*args: Any, _plain: bool = False, **kwargs: Any) -> Any:
        output = (without if _plain else with_lora)(*args, **kwargs)
        return tree_map_only(Tensor, _clone_view, output)

    def through_the_unit(*args: Any, **kwargs: Any) -> Any:
        return adapted(*args, _plain=True, **kwargs)

    adapted.forward, plain.forward = either, through_the_unit  # type: ignore[method-assign, assignment]


def _clone_view(tensor: Tensor) -> Tensor:
    """FSDP2 hears of a backward pass by hooks on what a unit returns; writing into a view would drop them unheard."""
    return tensor.clone() if tensor._is_view() else tensor


def is_sharded(tensor: Any) -> TypeGuard[DTensor]:
    """Whether a process has only its share of a tensor."""
    return hasattr(tensor, "full_tensor")  # as PyTorch's DTensor alone has


def gather(tensor: Tensor) -> Tensor:
    """A tensor as one process would have it; where it is spread, all processes must ask for it together."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def local_shard(value: Any, like: Tensor) -> Any:
    """What this process holds of a whole tensor, if another of its shape is spread; any other value as it is."""
    if not (isinstance(value, Tensor) and is_sharded(like) and like.shape == value.shape):
        return value
    from torch.distributed.tensor import distribute_tensor

    tensor = value.to(like.device)
    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)  # all have it: none sends


def gradients(value: Tensor, weights: Sequence[nn.Parameter]) -> list[Tensor | None]:
    """The gradient of a value, None for a weight that it does not depend on; of spread weights the mean over processes.

    Of the latter this process is given its share, so that what it does with them needs no other process. FSDP2 writes
    the gradient of a spread weight to its ``grad``, and nowhere else; there must be none before.
    """
    if not any(is_sharded(weight) for weight in weights):
        return list(torch.autograd.grad(value, weights, allow_unused=True))
    value.backward()  # type: ignore[no-untyped-call]
    found = [weight.grad.to_local() if is_sharded(weight.grad) else weight.grad for weight in weights]
    for weight in weights:
        weight.grad = None
    return found
