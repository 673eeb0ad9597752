"""A pipeline that is somebody else's: what is read of it, and what is put back after."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from hypernoise_pl.generators.loading import network_name

_NOT_IN_MEMORY = (
    "attach: some weights of the pipeline's network are not in memory; attach first, and switch on offloading after "
    "that"
)


def check_prompts_are_texts(network: nn.Module) -> None:
    """Check that a network can be evaluated for prompts that are texts alone.

    Raises:
        ValueError: if an IP-Adapter is on it, which needs a picture at every evaluation.
    """
    processors = getattr(network, "attn_processors", {}).values()
    if any(hasattr(processor, "to_k_ip") for processor in processors):
        raise ValueError(
            "attach: the pipeline's network has an IP-Adapter on it, which noise hypernetworks do not know; call "
            "pipe.unload_ip_adapter(), or set the attachment's scale to 0"
        )


def without_additions(network: nn.Module) -> nn.Module:
    """A network's architecture over its own weights, without what else is on it: other LoRAs, hooks, fused projections.

    It is read and not evaluated: its buffers are on the meta device.

    Raises:
        ValueError: if a weight is missing, not in memory, or in another form than floating point of 16 bits or more; or
            if an IP-Adapter is on it.
    """
    registries: list[Any] = [
        module._diffusers_hook for module in network.modules() if hasattr(module, "_diffusers_hook")
    ]
    groups = [getattr(hook, "group", None) for registry in registries for hook in registry.hooks.values()]
    if any(getattr(group, "offload_to_disk_path", None) for group in groups):
        raise ValueError(_NOT_IN_MEMORY)
    check_prompts_are_texts(network)
    kind: Any = type(network)
    with torch.device("meta"):
        alone: nn.Module = kind.from_config(network.config)
    weights = {name.replace(".base_layer.", "."): weight for name, weight in network.named_parameters()}
    for place, module in alone.named_modules():
        for key, shape in [(key, weight.shape) for key, weight in module._parameters.items() if weight is not None]:
            name = f"{place}.{key}" if place else key
            module._parameters[key] = _readable(name, weights.get(name), shape)
    return alone


def _readable(name: str, weight: nn.Parameter | None, shape: torch.Size) -> nn.Parameter:
    if weight is not None and weight.is_meta:
        raise ValueError(_NOT_IN_MEMORY)
    if weight is None or weight.shape != shape or not weight.is_floating_point() or weight.itemsize == 1:
        raise ValueError(
            f"attach: the weight {name!r} of the pipeline's network is missing, quantised or in eight bits; attach "
            "first, and quantise or switch on layerwise casting after that"
        )
    return weight


def lora_scale_of(arguments: Mapping[str, Any]) -> float:
    """The scale of other LoRAs that a call asks for."""
    asked = [arguments.get(f"{kind}attention_kwargs") or {} for kind in ("cross_", "joint_", "")]
    return float(next((given["scale"] for given in asked if "scale" in given), 1.0))


@contextlib.contextmanager
def with_loras_scaled(network: nn.Module, scale: float) -> Iterator[None]:
    """Evaluate a network with other LoRAs on it scaled, as diffusers scales them for a call."""
    from diffusers.utils.peft_utils import scale_lora_layers, unscale_lora_layers

    scale_lora_layers(network, scale)
    try:
        yield
    finally:
        unscale_lora_layers(network, scale)


def backend_pipeline(pipe: Any, scheduler: tuple[str, dict[str, Any]] | None, network: nn.Module) -> Any:
    """A pipeline of the same parts that a backend may change, with a scheduler that the backend walks by.

    Args:
        pipe: is not changed.
        scheduler: name of its class and arguments; None for a copy of the pipeline's own.
        network: in the place of the pipeline's own.
    """
    import diffusers

    other = copy.copy(pipe)
    for name, part in pipe.components.items():
        if hasattr(part, "_orig_mod"):
            other.__dict__[name] = part._orig_mod
    other.__dict__[network_name(pipe)] = network
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
def random_state_kept(network: nn.Module) -> Iterator[None]:
    """Leave PyTorch's global random states as they were, on the CPU and where a network is."""
    devices = {parameter.device for parameter in network.parameters() if parameter.device.type in ("cuda", "xpu")}
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng([]))
        for device in devices:
            stack.enter_context(torch.random.fork_rng([device], device_type=device.type))
        yield
