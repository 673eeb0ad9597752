"""Checks on a user's pipeline, and context managers that restore its state."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

_NOT_IN_MEMORY = (
    "attach: some weights of the pipeline's network are not in memory; attach first, and switch on offloading after "
    "that"
)


def check_prompts_are_texts(network: nn.Module) -> None:
    """Check that a network needs no prompt other than a text.

    Raises:
        ValueError: if it has an IP-Adapter, which needs an image at every evaluation.
    """
    processors = getattr(network, "attn_processors", {}).values()
    if any(hasattr(processor, "to_k_ip") for processor in processors):
        raise ValueError(
            "attach: the pipeline's network has an IP-Adapter on it, which noise hypernetworks do not support; call "
            "pipe.unload_ip_adapter(), or set the attachment's scale to 0"
        )


def without_hooks(network: nn.Module) -> nn.Module:
    """A network's architecture over the same weights, without other LoRAs, hooks and fused projections.

    It serves to load an adapter and cannot be evaluated: its buffers are on the meta device.

    Raises:
        ValueError: if a weight is missing, not in memory, or not in floating point of 16 bits or more; or if the
            network has an IP-Adapter.
    """
    registries: list[Any] = [
        module._diffusers_hook for module in network.modules() if hasattr(module, "_diffusers_hook")
    ]
    groups = [getattr(hook, "group", None) for registry in registries for hook in registry.hooks.values()]
    if any(getattr(group, "offload_to_disk_path", None) for group in groups):
        raise ValueError(_NOT_IN_MEMORY)
    check_prompts_are_texts(network)
    cls: Any = type(network)
    with torch.device("meta"):
        bare: nn.Module = cls.from_config(network.config)
    weights = {name.replace(".base_layer.", "."): weight for name, weight in network.named_parameters()}
    for prefix, module in bare.named_modules():
        for key, shape in [(key, weight.shape) for key, weight in module._parameters.items() if weight is not None]:
            name = f"{prefix}.{key}" if prefix else key
            module._parameters[key] = _checked(name, weights.get(name), shape)
    return bare


def _checked(name: str, weight: nn.Parameter | None, shape: torch.Size) -> nn.Parameter:
    """The weight, if it is in memory, of the shape, and in floating point of 16 bits or more."""
    if weight is not None and weight.is_meta:
        raise ValueError(_NOT_IN_MEMORY)
    if weight is None or weight.shape != shape or not weight.is_floating_point() or weight.itemsize == 1:
        raise ValueError(
            f"attach: the weight {name!r} of the pipeline's network is missing, quantised or in eight bits; attach "
            "first, and quantise or switch on layerwise casting after that"
        )
    return weight


@contextlib.contextmanager
def with_lora_scale(network: nn.Module, scale: float) -> Iterator[None]:
    """Scale the network's other LoRAs, as diffusers scales them for a call."""
    from diffusers.utils.peft_utils import scale_lora_layers, unscale_lora_layers

    scale_lora_layers(network, scale)
    try:
        yield
    finally:
        unscale_lora_layers(network, scale)


@contextlib.contextmanager
def preserve_state(pipe: Any) -> Iterator[None]:
    """Restore ``requires_grad`` and training flags on exit; a backend changes them, and kernels may depend on them."""
    modules = [module for module in pipe.components.values() if isinstance(module, nn.Module)]
    gradients = [(parameter, parameter.requires_grad) for module in modules for parameter in module.parameters()]
    modes = [(child, child.training) for module in modules for child in module.modules()]
    try:
        yield
    finally:
        for parameter, requires_grad in gradients:
            parameter.requires_grad_(requires_grad)
        for child, training in modes:
            child.training = training


@contextlib.contextmanager
def preserve_random_state(network: nn.Module) -> Iterator[None]:
    """Restore PyTorch's global random states on exit: the CPU's and those of the network's devices."""
    devices = {parameter.device for parameter in network.parameters() if parameter.device.type in ("cuda", "xpu")}
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng([]))
        for device in devices:
            stack.enter_context(torch.random.fork_rng([device], device_type=device.type))
        yield
