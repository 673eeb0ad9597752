"""LoraBranches: a hypernetwork's LoRA on the layers of a pipeline's own network, for one evaluation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.view import ADAPTER, ZeroBase

# fused projection of diffusers -> the layers whose outputs it concatenates
FUSED = {
    "to_qkv": ("to_q", "to_k", "to_v"),
    "to_kv": ("to_k", "to_v"),
    "to_added_qkv": ("add_q_proj", "add_k_proj", "add_v_proj"),
}


class LoraBranch(nn.Module):
    """The LoRA branch of one layer.

    Args:
        layer: LoRA layer of a hypernetwork's view.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.down, self.up = layer.lora_A[ADAPTER], layer.lora_B[ADAPTER]
        self.scaling: float = layer.scaling if isinstance(layer.scaling, float) else layer.scaling[ADAPTER]
        self.replaces_output = isinstance(layer.base_layer, ZeroBase)

    def forward(self, x: Tensor) -> Tensor:
        """The branch's output for the layer's input, in the LoRA's precision."""
        added: Tensor = self.scaling * self.up(self.down(x.to(self.down.weight.dtype)))
        return added


class LoraBranches(nn.Module):
    """The LoRA branches of all layers.

    They are added by forward hooks on the pipeline's own network, which are removed after the evaluation. Offloading,
    casting, other LoRAs and quantised layers act as in the pipeline's own evaluations.

    Args:
        hypernetwork: trained hypernetwork; it is not changed, and its frozen weights are not kept.
    """

    def __init__(self, hypernetwork: NoiseHypernetwork) -> None:
        super().__init__()
        branches = {
            name: LoraBranch(layer) for name, layer in hypernetwork.view.named_modules() if hasattr(layer, "lora_A")
        }
        self.mode, self.names = hypernetwork.mode, list(branches)
        self.layers = nn.ModuleList(branches.values()).requires_grad_(False)

    @torch.no_grad()
    def residual(self, generator: Generator, noise: Tensor, conditioning: Any) -> Tensor:
        """The residual [B, *Z] for noise [B, *Z].

        Args:
            generator: backend whose network is the pipeline's.
            noise: [B, *Z] standard normal.
            conditioning: conditioning of the same B prompts.

        Raises:
            ValueError: if a layer of the network is missing or is not evaluated.
        """
        self.to(noise.device)
        network: Any = generator.network
        with self._hooked(network), _without_caches(network), torch.compiler.set_stance("force_eager"):
            output = generator.predict(network, noise, conditioning).to(noise.dtype)
        return output if self.mode == "residual" else output - noise

    @contextlib.contextmanager
    def _hooked(self, network: nn.Module) -> Iterator[None]:
        """Keep forward hooks on a network's layers that add the branches."""
        branches: dict[str, LoraBranch] = dict(zip(self.names, self.layers))  # type: ignore[arg-type]
        layers = dict(network.named_modules())
        if missing := branches.keys() - layers.keys():
            raise ValueError(
                f"attach: the pipeline's network has no layer {min(missing)!r} any more; put it back, or detach"
            )
        pending = {name for name, branch in branches.items() if branch.replaces_output}
        hooks = []

        def add(name: str, combine: Any) -> None:
            def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
                pending.discard(name)
                combined: Tensor = combine(inputs[0], output).to(output.dtype)
                return combined

            hooks.append(layers[name].register_forward_hook(hook))

        try:
            for name, branch in branches.items():
                add(name, _with_branch(branch))
            for name in layers:
                parent, _, last = name.rpartition(".")
                parts = [
                    (layers.get(f"{parent}.{part}"), branches.get(f"{parent}.{part}")) for part in FUSED.get(last, ())
                ]
                if any(branch for _, branch in parts):
                    add(name, _with_fused_branches(parts))
            yield
        finally:
            for hook in hooks:
                hook.remove()
        if pending:
            raise ValueError(f"attach: the pipeline's network does not evaluate its layer {min(pending)!r} any more")


def _with_branch(branch: LoraBranch) -> Any:
    """Function from a layer's input and output to its output with the branch."""
    return lambda x, output: branch(x) if branch.replaces_output else output + branch(x)


def _with_fused_branches(parts: list[tuple[Any, LoraBranch | None]]) -> Any:
    """Function from a fused layer's input and output to its output with the branches that exist.

    Args:
        parts: layers that are fused, each with its branch or None.
    """

    def combine(x: Tensor, output: Tensor) -> Tensor:
        added = [
            x.new_zeros(*x.shape[:-1], layer.out_features) if branch is None else branch(x) for layer, branch in parts
        ]
        return output + torch.cat(added, -1)

    return combine


@contextlib.contextmanager
def _without_caches(network: nn.Module) -> Iterator[None]:
    """Switch off diffusers' cache hooks, which count the network's evaluations or skip them."""
    registries: list[Any] = [
        module._diffusers_hook for module in network.modules() if hasattr(module, "_diffusers_hook")
    ]
    hooks = [hook for registry in registries for hook in registry.hooks.values()]
    references = [hook.fn_ref for hook in hooks if hook._is_stateful or hasattr(hook, "new_forward")]
    saved = [(reference, vars(reference).copy()) for reference in references]
    for reference in references:
        reference.pre_forward = lambda module, *args, **kwargs: (args, kwargs)
        reference.forward = reference.original_forward or reference.forward
        reference.post_forward = lambda module, output: output
    try:
        yield
    finally:
        for reference, functions in saved:
            vars(reference).update(functions)
