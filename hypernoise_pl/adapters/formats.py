"""Adapters for and from others: an ordinary PEFT LoRA that needs no code of ours, and the reference code's folders."""

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

PICKLED = "adapter_model.bin"  # what older peft and the reference code write
_PLAIN_LORA = {"bias": "none", "use_rslora": False, "use_dora": False, "lora_bias": False, "fan_in_fan_out": False}


def export_peft(hypernetwork: NoiseHypernetwork, folder: Path) -> Path:
    """Write an adapter that ``peft.PeftModel.from_pretrained(network, folder)`` makes the hypernetwork of.

    The last layer's LoRA, which is to speak alone, becomes one that first takes the layer's own output away:
    with its m outputs, ``s B A - W0`` has rank m at the most and is written as ``I (s B A - W0)``, with bias ``-b``. In
    float32 the network then is f to rounding. In half precision W0 x is rounded before it is taken away, so f carries
    an error in proportion to W0 x. Measured on a tiny SANA in bfloat16, |f| being 0.2, 0.02 and 0.002 of the
    generator's own output: 1.6 %, 14 % and 139 % of |f|, where our own format has 0.7 % throughout. Use it in float32.

    Raises:
        ValueError: for a hypernetwork in mode ``absolute``, which is an ordinary LoRA already, or with LoRA on
            grouped convolutions.
        OSError: if it cannot be written; what was there before is still there.
    """
    if hypernetwork.mode != "residual":
        raise ValueError("export: a hypernetwork in mode 'absolute' is an ordinary PEFT LoRA as it is saved")
    if any(isinstance(layer, UngroupedLora) for layer in hypernetwork.view.modules()):
        raise ValueError("export: peft takes no such LoRA on grouped convolutions any more, as this old adapter has")
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
    # whole names, from the start: another layer's name may end in the same words
    patterns = {"rank_pattern": {f"^{last}": rank}, "alpha_pattern": {f"^{last}": rank}, "lora_bias": True}
    return write_folder(folder, state, portable_description(generator)["name"], options, patterns)


def export_reference(hypernetwork: NoiseHypernetwork, folder: Path, pickled: bool = False) -> Path:
    """Write the folder that the reference implementation loads: PEFT's files, the last layer to be patched by it.

    Args:
        hypernetwork: in mode ``residual``.
        folder: to write.
        pickled: ``adapter_model.bin``, as its trainer writes, in the place of safetensors.

    Raises:
        ValueError: for a hypernetwork in mode ``absolute``, which the reference code does not have.
        OSError: if it cannot be written; what was there before is still there.
    """
    if hypernetwork.mode != "residual":
        raise ValueError("export: the reference format has no mode 'absolute'")
    base = portable_description(hypernetwork.generator)["name"]
    return write_folder(folder, lora_state(hypernetwork.view), base, hypernetwork.lora, {}, pickled=pickled)


def load_reference(folder: Path, generator: Generator) -> NoiseHypernetwork:
    """The hypernetwork of a folder in the reference implementation's format, over a generator.

    Old adapters have LoRA on grouped convolutions too, whose up-projection knows no groups; they compute here as they
    did there.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if one is damaged, is not a plain LoRA, or is not of this generator's network.
    """
    config, saved = _read_peft(folder)
    # the reference code has LoRA on these too, which never trained
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
    """A grouped convolution with a LoRA that does not know of groups, as peft made them before it had them.

    Args:
        layer: frozen.
        options: rank and scale.
    """

    def __init__(self, layer: nn.Conv2d, options: LoraOptions) -> None:
        super().__init__()
        self.base_layer, self.scaling = layer, options.alpha / options.rank
        how: dict[str, Any] = {key: getattr(layer, key) for key in ("kernel_size", "stride", "padding")}
        self.lora_A = nn.ModuleDict({ADAPTER: nn.Conv2d(layer.in_channels, options.rank, **how, bias=False)})
        self.lora_B = nn.ModuleDict({ADAPTER: nn.Conv2d(options.rank, layer.out_channels, 1, bias=False)})

    def forward(self, x: Tensor) -> Tensor:
        """What the layer writes, and what the LoRA adds."""
        down = self.lora_A[ADAPTER]
        base: Tensor = self.base_layer(x)
        added = self.lora_B[ADAPTER](down(x.to(down.weight.dtype)))  # type: ignore[arg-type]
        return (base + self.scaling * added).to(base.dtype)


def _read_peft(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """PEFT's configuration and weights, with no prefix."""
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
            raise ValueError(f"adapter {folder}: exported for PEFT alone (--format peft); give the one it was made of")
        raise ValueError(f"adapter {folder / PEFT_CONFIG}: {key} is {config[key]!r}; only plain LoRA is read")
    try:
        if file.name == WEIGHTS:
            saved = load_tensors(file, "adapter")
        else:
            saved = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"adapter {file}: damaged, or more than weights in it") from error
    return config, {name.removeprefix(PREFIX): tensor for name, tensor in saved.items()}
