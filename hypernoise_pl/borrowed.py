"""A pipeline that is somebody else's: what is checked before a LoRA view of its network is made, and put back after."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

from torch import nn

_OF_ACCELERATE = ("_hf_hook", "_old_forward", "forward")  # what offloading leaves on a network


def network_of(pipe: Any) -> Any:
    """The network that is evaluated once a step, without ``torch.compile``'s wrapper."""
    parts = pipe.components
    network = parts["transformer"] if "transformer" in parts else parts["unet"]
    return getattr(network, "_orig_mod", network)


def check_network(network: nn.Module) -> None:
    """Check that a LoRA view of a network can be made.

    Raises:
        ValueError: if something is on it that a view would take along, or its weights are elsewhere.
    """
    check_weights(network)
    if any(type(module).__module__.startswith("peft.") for module in network.modules()):
        raise ValueError(
            "attach: the pipeline's network has LoRA layers on it; attach before loading them, or make them part of "
            "its weights first: pipe.fuse_lora(), then pipe.unload_lora_weights()"
        )
    registries = [getattr(module, "_diffusers_hook", None) for module in network.modules()]
    if any(registry is not None and registry.hooks for registry in registries):
        raise ValueError(
            "attach: the pipeline's network has diffusers' hooks on it (group offloading, layerwise casting, a cache); "
            "attach first, and switch on offloading after that"
        )


def check_weights(network: nn.Module) -> None:
    """Check that a network's weights can be computed with as they are.

    Raises:
        ValueError: if they are not in memory, or in eight bits.
    """
    if any(parameter.is_meta for parameter in network.parameters()):
        raise ValueError("attach: some weights are not in memory; attach first, and no sequential offloading")
    if any(parameter.is_floating_point() and parameter.itemsize == 1 for parameter in network.parameters()):
        raise ValueError("attach: the network's weights are kept in eight bits; no layerwise casting")


def share_buffers(network: nn.Module, view: nn.Module) -> None:
    """Give a view the buffers of its network again, whatever became of them: they are moved and converted apart."""
    own = dict(network.named_buffers())
    for place, module in view.named_modules():
        for key in module._buffers:
            module._buffers[key] = own.get(f"{place}.{key}" if place else key, module._buffers[key])


def stand_in(pipe: Any, scheduler: tuple[str, dict[str, Any]] | None) -> Any:
    """A pipeline of the same parts that a backend may change, with a scheduler that the backend walks by.

    Args:
        pipe: is not changed.
        scheduler: name of its class and arguments; None for a copy of the pipeline's own.
    """
    import diffusers

    other = copy.copy(pipe)
    for name, part in pipe.components.items():
        if hasattr(part, "_orig_mod"):
            other.__dict__[name] = part._orig_mod
    kind, arguments = scheduler or (None, {})
    other.scheduler = copy.deepcopy(pipe.scheduler) if kind is None else getattr(diffusers, kind)(**arguments)
    return other


@contextlib.contextmanager
def as_it_was(pipe: Any) -> Iterator[None]:
    """Leave parameters and modules as they were: a backend freezes its own, and PyTorch's kernels may depend on it."""
    modules = [module for module in pipe.components.values() if isinstance(module, nn.Module)]
    required = [(parameter, parameter.requires_grad) for module in modules for parameter in module.parameters()]
    modes = [(part, part.training) for module in modules for part in module.modules()]
    try:
        yield
    finally:
        for parameter, flag in required:
            parameter.requires_grad_(flag)
        for part, training in modes:
            part.training = training


@contextlib.contextmanager
def bare(network: nn.Module) -> Iterator[None]:
    """A network without what accelerate's offloading has put on it, so that a view of it takes nothing along."""
    kept = {name: network.__dict__.pop(name) for name in _OF_ACCELERATE if name in network.__dict__}
    try:
        yield
    finally:
        network.__dict__.update(kept)
