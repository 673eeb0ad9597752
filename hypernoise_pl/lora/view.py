"""LoRA over frozen weights: a second module tree over the same Parameters, and the weights that train in it."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

ADAPTER = "hypernoise"  # peft's name for the LoRA inside a view


@dataclass(frozen=True)
class LoraOptions:
    """Options of a LoRA (low-rank adaptation).

    Args:
        rank: rank of each LoRA matrix; at least 1. The paper's 128 is for networks of a billion parameters.
        alpha: numerator of the LoRA branch's scale, alpha / rank; the paper's scale is 2 (256 / 128).
        targets: ``all`` for every linear and ungrouped convolution layer, or the ends of layer names
            (``[to_q, to_k, to_v]``).
        init: distribution of each down-projection's first weights: ``kaiming``, peft's default, uniform with standard
            deviation 1 / sqrt(3 fan_in); or ``gaussian``, the reference code's, normal with standard deviation
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
    """A frozen layer whose output is replaced by zeros of its shape and type; its weight is not read.

    Args:
        layer: a linear or convolution layer.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer
        self.weight = layer.weight  # peft reads the device and type of a base layer here

    def forward(self, x: Tensor) -> Tensor:
        """Zeros where the layer would have written."""
        if isinstance(self.layer, nn.Linear):
            return x.new_zeros(*x.shape[:-1], self.layer.out_features)
        return torch.zeros_like(self.layer(x))


def tied_view(network: nn.Module) -> nn.Module:
    """A second module tree over the same Parameters and buffers; no weight is copied."""
    network.requires_grad_(False)
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    return copy.deepcopy(network, shared)


def lora_view(network: nn.Module, options: LoraOptions, exclude: Collection[str] = ()) -> nn.Module:
    """A tied view of a network with fresh LoRA on it; the LoRA's output is zero at first, its weights in float32.

    Args:
        network: frozen.
        options: rank, scale, first weights and target layers.
        exclude: names of layers that get no LoRA, whatever the targets say.

    Raises:
        ValueError: if no layer fits the targets.
    """
    from peft import LoraConfig, inject_adapter_in_model

    names = [name for name in _target_names(network, options.targets) if name not in exclude]
    if not names:
        raise ValueError(f"LoRA targets {options.targets} fit no linear or convolution layer of the network")
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
        RuntimeError: if it does not: something copied or re-assigned weights after the view was made.
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
        # a grouped convolution's LoRA would need a rank its groups divide; peft refuses the others
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
