"""Foreign adapter formats: plain PEFT LoRA, and the reference implementation's folders."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hypernoise_pl.adapters.files import load_strict
from hypernoise_pl.adapters.folder import PEFT_CONFIG, PREFIX, WEIGHTS, check_folder, write_folder
from hypernoise_pl.checkpoints.loading import load_tensors
from hypernoise_pl.generators.base import Generator
from hypernoise_pl.generators.portable import portable_description
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.view import ADAPTER, LoraOptions, lora_state

PICKLED = "adapter_model.bin"  # older peft and the reference code write this file
_PLAIN_LORA = {"bias": "none", "use_rslora": False, "use_dora": False, "lora_bias": False, "fan_in_fan_out": False}


def export_peft(hypernetwork: NoiseHypernetwork, folder: Path) -> Path:
    """Write the hypernetwork as a plain LoRA for ``peft.PeftModel.from_pretrained(network, folder)``.

    The last layer's output must be that of its LoRA alone. The written LoRA therefore subtracts the layer's own output:
    with m outputs, ``s B A - W0`` has at most rank m and is written as ``I (s B A - W0)``, with bias ``-b``. In float32
    the network then equals f up to rounding. In half precision W0 x is rounded before the subtraction, and f carries an
    error in proportion to W0 x. Measured on a tiny SANA in bfloat16, with |f| at 0.2, 0.02 and 0.002 of the
    generator's output: errors of 1.6 %, 14 % and 139 % of |f|; our own format has 0.7 % each time. Use it in float32.

    Raises:
        ValueError: if the hypernetwork has mode ``absolute``, which is a plain LoRA already, or LoRA on grouped
            convolutions.
        OSError: if the folder cannot be written; an older adapter stays unchanged.
    """
    if hypernetwork.mode != "residual":
        raise ValueError(
            "export: a hypernetwork in mode 'absolute' is saved as a plain PEFT LoRA already; use its folder"
        )
    if any(isinstance(layer, UngroupedLora) for layer in hypernetwork.view.modules()):
        raise ValueError("export: this old adapter has LoRA on grouped convolutions, which peft no longer supports")
    generator, options = hypernetwork.generator, hypernetwork.lora
    last = generator.last_layer
    own: Any = generator.network.get_submodule(last)
    state = {name: weight.detach().cpu().float() for name, weight in lora_state(hypernetwork.view).items()}
    up, down = state[f"{last}.lora_B.weight"], state[f"{last}.lora_A.weight"]
    weight, rank = own.weight.detach().cpu().float(), len(own.weight)
    product = (up.double().flatten(1) @ down.double().flatten(1)).view_as(weight) * (options.alpha / options.rank)
    state[f"{last}.lora_A.weight"] = (product - weight.double()).float()
    state[f"{last}.lora_B.weight"] = torch.eye(rank).view(rank, rank, *up.shape[2:])
    for name in [name for name in state if name.endswith(".lora_B.weight")]:
        state[name.replace(".weight", ".bias")] = torch.zeros(len(state[name]))
    if own.bias is not None:
        state[f"{last}.lora_B.bias"] = -own.bias.detach().cpu().float()
    # anchored at the start, since another layer's name may have the same ending
    patterns = {"rank_pattern": {f"^{last}": rank}, "alpha_pattern": {f"^{last}": rank}, "lora_bias": True}
    return write_folder(folder, state, portable_description(generator)["name"], options, patterns)


def export_reference(hypernetwork: NoiseHypernetwork, folder: Path, pickled: bool = False) -> Path:
    """Write the folder that the reference implementation loads; it patches the last layer itself.

    Args:
        hypernetwork: noise hypernetwork in mode ``residual``.
        folder: adapter folder.
        pickled: whether to write ``adapter_model.bin``, as its trainer does, instead of safetensors.

    Raises:
        ValueError: if the hypernetwork has mode ``absolute``, which the reference code does not have.
        OSError: if the folder cannot be written; an older adapter stays unchanged.
    """
    if hypernetwork.mode != "residual":
        raise ValueError("export: the reference format has no mode 'absolute'")
    base = portable_description(hypernetwork.generator)["name"]
    return write_folder(folder, lora_state(hypernetwork.view), base, hypernetwork.lora, {}, pickled=pickled)


def load_reference(folder: Path, generator: Generator) -> NoiseHypernetwork:
    """Load the hypernetwork of a folder in the reference implementation's format over a generator.

    Old adapters also have LoRA on grouped convolutions, with an ungrouped up-projection; they compute the same here.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is damaged or not a plain LoRA, or does not fit this generator's network.
    """
    config, saved = _read_peft(folder)
    # the reference code also puts LoRA, which never trains, on these layers
    saved = {key: weight for key, weight in saved.items() if key.rsplit(".lora_", 1)[0] not in generator.unused_layers}
    targets: list[str] = []
    grouped: list[str] = []
    for name in sorted({key.rsplit(".lora_", 1)[0] for key in saved}):
        try:
            layer: Any = generator.network.get_submodule(name)
        except AttributeError:
            raise ValueError(
                f"adapter {folder}: {generator.name} has no layer {name!r}; use its own generator"
            ) from None
        (grouped if getattr(layer, "groups", 1) > 1 else targets).append(name)
    options = LoraOptions(config["r"], config["lora_alpha"], targets)
    hypernetwork = NoiseHypernetwork(generator, options)
    for name in grouped:
        layer = hypernetwork.view.get_submodule(name)
        hypernetwork.view.set_submodule(name, UngroupedLora(layer, options))
    load_strict(lora_state(hypernetwork.view), saved, folder)
    return hypernetwork


class UngroupedLora(nn.Module):
    """A grouped convolution with an ungrouped LoRA, as peft made it before it supported groups.

    Args:
        layer: frozen convolution.
        options: LoRA rank and scale.
    """

    def __init__(self, layer: nn.Conv2d, options: LoraOptions) -> None:
        super().__init__()
        self.base_layer, self.scaling = layer, options.alpha / options.rank
        geometry: dict[str, Any] = {key: getattr(layer, key) for key in ("kernel_size", "stride", "padding")}
        self.lora_A = nn.ModuleDict({ADAPTER: nn.Conv2d(layer.in_channels, options.rank, **geometry, bias=False)})
        self.lora_B = nn.ModuleDict({ADAPTER: nn.Conv2d(options.rank, layer.out_channels, 1, bias=False)})

    def forward(self, x: Tensor) -> Tensor:
        """The sum of the layer's and the LoRA's outputs."""
        down = self.lora_A[ADAPTER]
        base: Tensor = self.base_layer(x)
        residual = self.lora_B[ADAPTER](down(x.to(down.weight.dtype)))  # type: ignore[arg-type]
        return (base + self.scaling * residual).to(base.dtype)


def _read_peft(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read PEFT's configuration and weights; names have no prefix."""
    check_folder(folder)
    file = folder / (WEIGHTS if (folder / WEIGHTS).is_file() else PICKLED)
    for needed in (folder / PEFT_CONFIG, file):
        if not needed.is_file():
            raise FileNotFoundError(f"adapter {folder}: no {needed.name} in that folder")
    try:
        config: dict[str, Any] = json.loads((folder / PEFT_CONFIG).read_text())
        rank, alpha = config["r"], config["lora_alpha"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"adapter {folder / PEFT_CONFIG}: damaged: {error}") from error
    others = {key: value for key, value in _PLAIN_LORA.items() if config.get(key) not in (None, value)}
    others |= {key: {} for key in ("rank_pattern", "alpha_pattern") if config.get(key)}
    if others or not isinstance(rank, int) or not isinstance(alpha, (int, float)):
        key = next(iter(others), "r")
        if config.get("lora_bias"):
            raise ValueError(f"adapter {folder}: exported for PEFT alone (--format peft); give the original adapter")
        raise ValueError(f"adapter {folder / PEFT_CONFIG}: {key} is {config[key]!r}; only plain LoRA is supported")
    try:
        if file.name == WEIGHTS:
            saved = load_tensors(file, "adapter")
        else:
            saved = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"adapter {file}: damaged, or not only weights") from error
    return config, {name.removeprefix(PREFIX): tensor for name, tensor in saved.items()}
