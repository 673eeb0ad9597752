"""LoRA over frozen weights: a second module tree over the same Parameters, with its trained weights."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

ADAPTER = "hypernoise"  # name of the LoRA in peft's layers


@dataclass(frozen=True)
class LoraOptions:
    """Options of a LoRA (low-rank adaptation).

    Args:
        rank: rank of each LoRA matrix; at least 1. The paper's 128 is for networks of a billion parameters.
        alpha: numerator of the LoRA branch's scale, alpha / rank; the paper's scale is 2 (256 / 128).
        targets: ``all`` for every linear and ungrouped convolution layer, or the ends of layer names
            (``[to_q, to_k, to_v]``).
        init: initial distribution of each down-projection: ``kaiming`` (peft's default), uniform with standard
            deviation 1 / sqrt(3 fan_in); or ``gaussian`` (the reference code's), normal with standard deviation
            1 / rank. Up-projections start at zero.
    """

    rank: int = 32
    alpha: float = 64.0
    targets: Literal["all"] | list[str] = "all"
    init: Literal["kaiming", "gaussian"] = "kaiming"

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"LoRA rank must be at least 1, got {self.rank}")


class ZeroBase(nn.Module):
    """Replaces the output of a frozen layer by zeros of the same shape and dtype; does not read its weight.

    Args:
        layer: linear or convolution layer.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer
        self.weight = layer.weight  # peft reads a base layer's device and dtype here

    def forward(self, x: Tensor) -> Tensor:
        """Return zeros of the layer's output shape."""
        if isinstance(self.layer, nn.Linear):
            return x.new_zeros(*x.shape[:-1], self.layer.out_features)
        return torch.zeros_like(self.layer(x))


def tied_view(network: nn.Module) -> nn.Module:
    """Make a second module tree over the same Parameters and buffers; no weight is copied."""
    network.requires_grad_(False)
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    return copy.deepcopy(network, shared)


def lora_view(network: nn.Module, options: LoraOptions, exclude: Collection[str] = ()) -> nn.Module:
    """Make a tied view of a network with new LoRA in float32; the LoRA's output is zero at first.

    Args:
        network: frozen network.
        options: rank, scale, initialisation and target layers.
        exclude: names of layers that get no LoRA even if they are targets.

    Raises:
        ValueError: if no layer matches the targets.
    """
    from peft import LoraConfig, inject_adapter_in_model

    names = [name for name in _target_names(network, options.targets) if name not in exclude]
    if not names:
        raise ValueError(f"LoRA targets {options.targets} match no linear or convolution layer of the network")
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,  # type: ignore[arg-type]
        target_modules=names,
        init_lora_weights="gaussian" if options.init == "gaussian" else True,
    )
    view = inject_adapter_in_model(config, tied_view(network), ADAPTER)
    for parameter in trainable(view):
        parameter.data = parameter.data.float()
    return view


def trainable(view: nn.Module) -> list[nn.Parameter]:
    """The LoRA Parameters of a view."""
    return [p for p in view.parameters() if p.requires_grad]


def assert_tied(network: nn.Module, view: nn.Module) -> None:
    """Check that a view still shares every frozen Parameter with its network.

    Raises:
        RuntimeError: if weights were copied or re-assigned after the view was made.
    """
    own = {id(p) for p in network.parameters()}
    lost = sum(id(p) not in own for name, p in view.named_parameters() if ".lora_" not in name)
    if lost:
        raise RuntimeError(
            f"{lost} frozen parameters are no longer shared between generator and hypernetwork; load weights and "
            "move or convert the generator before the hypernetwork is made, and never with assign=True"
        )


def _target_names(network: nn.Module, targets: str | Sequence[str]) -> Iterator[str]:
    for name, layer in network.named_modules():
        # peft needs a rank that the groups of a convolution divide
        fits = isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
        if fits and (targets == "all" or any(name == t or name.endswith("." + t) for t in targets)):
            yield name


def lora_state(view: nn.Module) -> dict[str, Any]:
    """The LoRA weights of a view under peft's own names (``layer.lora_A.weight``)."""
    return {
        name.replace(f".{ADAPTER}.", "."): parameter
        for name, parameter in view.named_parameters()
        if parameter.requires_grad
    }
