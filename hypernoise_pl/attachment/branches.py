"""The LoRA of a noise hypernetwork, put on the layers of a pipeline's own network for one evaluation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.view import ADAPTER, ZeroBase

# layer that diffusers' fused projections evaluate -> the layers beside it whose outputs it writes side by side
FUSED = {
    "to_qkv": ("to_q", "to_k", "to_v"),
    "to_kv": ("to_k", "to_v"),
    "to_added_qkv": ("add_q_proj", "add_k_proj", "add_v_proj"),
}


class Branch(nn.Module):
    """The LoRA of one layer.

    Args:
        layer: LoRA layer of a hypernetwork's view.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.down, self.up = layer.lora_A[ADAPTER], layer.lora_B[ADAPTER]
        self.scaling: float = layer.scaling if isinstance(layer.scaling, float) else layer.scaling[ADAPTER]
        self.alone = isinstance(layer.base_layer, ZeroBase)

    def forward(self, x: Tensor) -> Tensor:
        """What is added to the layer's output for its input, in the LoRA's precision."""
        added: Tensor = self.scaling * self.up(self.down(x.to(self.down.weight.dtype)))
        return added


class Branches(nn.Module):
    """The LoRA of all layers.

    The network itself is evaluated, with forward hooks on its layers that are taken off again: whatever else is on it
    (offloading, casting, another LoRA, quantised layers) takes part as in the pipeline's own evaluations.

    Args:
        hypernetwork: is not changed; its frozen weights are not kept.
    """

    def __init__(self, hypernetwork: NoiseHypernetwork) -> None:
        super().__init__()
        found = {name: Branch(layer) for name, layer in hypernetwork.view.named_modules() if hasattr(layer, "lora_A")}
        self.mode, self.names = hypernetwork.mode, list(found)
        self.layers = nn.ModuleList(found.values()).requires_grad_(False)

    @torch.no_grad()
    def residual(self, generator: Generator, noise: Tensor, conditioning: Any) -> Tensor:
        """[B, *Z] the residual for noise [B, *Z].

        Raises:
            ValueError: if a layer of the network is not there, or is not evaluated.
        """
        self.to(noise.device)
        network: Any = generator.network
        with self._on(network), _without_caches(network), torch.compiler.set_stance("force_eager"):
            output = generator.predict(network, noise, conditioning).to(noise.dtype)
        return output if self.mode == "residual" else output - noise

    @contextlib.contextmanager
    def _on(self, network: nn.Module) -> Iterator[None]:
        """Have the branches on a network's layers."""
        branches: dict[str, Branch] = dict(zip(self.names, self.layers))  # type: ignore[arg-type]
        layers = dict(network.named_modules())
        if missing := branches.keys() - layers.keys():
            raise ValueError(
                f"attach: the pipeline's network has no layer {min(missing)!r} any more; put it back, or detach"
            )
        alone = {name for name, branch in branches.items() if branch.alone}
        hooks = []

        def add(name: str, write: Any) -> None:
            def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
                alone.discard(name)
                written: Tensor = write(inputs[0], output).to(output.dtype)
                return written

            hooks.append(layers[name].register_forward_hook(hook))

        try:
            for name, branch in branches.items():
                add(name, _written_by(branch))
            for name in layers:
                place, _, last = name.rpartition(".")
                parts = [
                    (layers.get(f"{place}.{part}"), branches.get(f"{place}.{part}")) for part in FUSED.get(last, ())
                ]
                if any(branch for _, branch in parts):
                    add(name, _written_side_by_side(parts))
            yield
        finally:
            for hook in hooks:
                hook.remove()
        if alone:
            raise ValueError(f"attach: the pipeline's network does not evaluate its layer {min(alone)!r} any more")


def _written_by(branch: Branch) -> Any:
    """(input, output) of a layer -> its output with a branch."""
    return lambda x, output: branch(x) if branch.alone else output + branch(x)


def _written_side_by_side(parts: list[tuple[Any, Branch | None]]) -> Any:
    """(input, output) of fused layers -> their output with the branches of those that have one."""

    def written(x: Tensor, output: Tensor) -> Tensor:
        added = [
            x.new_zeros(*x.shape[:-1], layer.out_features) if branch is None else branch(x) for layer, branch in parts
        ]
        return output + torch.cat(added, -1)

    return written


@contextlib.contextmanager
def _without_caches(network: nn.Module) -> Iterator[None]:
    """Evaluate a network without diffusers' caches: the hooks that count its evaluations or take their place."""
    registries: list[Any] = [
        module._diffusers_hook for module in network.modules() if hasattr(module, "_diffusers_hook")
    ]
    hooks = [hook for registry in registries for hook in registry.hooks.values()]
    references = [hook.fn_ref for hook in hooks if hook._is_stateful or hasattr(hook, "new_forward")]
    kept = [(reference, vars(reference).copy()) for reference in references]
    for reference in references:
        reference.pre_forward = lambda module, *args, **named: (args, named)
        reference.forward = reference.original_forward or reference.forward
        reference.post_forward = lambda module, output: output
    try:
        yield
    finally:
        for reference, functions in kept:
            vars(reference).update(functions)
