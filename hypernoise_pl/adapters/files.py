"""Saving adapters to folders, and loading them over a generator."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hypernoise_pl.adapters.description import adapter_description, check_generator, read_description
from hypernoise_pl.adapters.folder import OWN_CONFIG, PREFIX, WEIGHTS, write_folder
from hypernoise_pl.checkpoints.loading import load_tensors
from hypernoise_pl.distributed.fsdp import gather
from hypernoise_pl.generators.base import Generator
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.adapter import Adapter
from hypernoise_pl.lora.generator_lora import GeneratorLora
from hypernoise_pl.lora.view import LoraOptions, lora_state

ADAPTER_CLASSES: dict[str, type[Adapter]] = {"noise": NoiseHypernetwork, "generator": GeneratorLora}


def save_adapter(
    adapter: Adapter, folder: str | Path, penalty: dict[str, Any] | None = None, writes: bool = True
) -> Path:
    """Write an adapter folder; an older one is replaced only when the new one is complete.

    If weights are sharded over processes, all processes must call this, and one of them writes.

    Args:
        adapter: noise hypernetwork or LoRA on the generator.
        folder: adapter folder.
        penalty: class and numbers of the training penalty, stored for reference.
        writes: whether this process writes; the others only contribute their shards.

    Returns:
        The folder.

    Raises:
        OSError: if the folder cannot be written (a full disk), or holds other files; an older adapter stays
            unchanged.
    """
    folder = Path(folder)
    config = adapter_description(adapter, penalty)
    state = {name: gather(weight.detach()).cpu() for name, weight in lora_state(adapter.view).items()}
    return write_folder(folder, state, config["generator"]["name"], adapter.lora, {}, config) if writes else folder


def load_adapter(folder: str | Path, generator: Generator) -> Adapter:
    """Load the adapter of a folder over a generator.

    Raises:
        FileNotFoundError: if the folder or one of its files is missing.
        ValueError: if a file is damaged, or the adapter was trained with another generator.
    """
    folder = Path(folder)
    config = read_description(folder)
    if config["adapts"] not in ADAPTER_CLASSES:
        known = " or ".join(ADAPTER_CLASSES)
        raise ValueError(f"adapter {folder}: 'adapts' is {config['adapts']!r}, must be {known}; give another adapter")
    check_generator(config, generator, folder)
    lora = LoraOptions(config["rank"], config["alpha"], config["targets"])
    mode = {} if config["mode"] is None else {"mode": config["mode"]}
    adapter = ADAPTER_CLASSES[config["adapts"]](generator, lora, **mode)
    load_weights(adapter, folder)
    return adapter


def load_hypernetwork(folder: str | Path, generator: Generator) -> NoiseHypernetwork:
    """Load the noise hypernetwork of an adapter folder over a generator; raises the errors of ``load_adapter`` too.

    Raises:
        ValueError: if the adapter is a LoRA on the generator itself.
    """
    if read_description(Path(folder))["adapts"] != "noise":
        raise ValueError(
            f"adapter {folder}: it adapts the generator itself and does not refine noise; give a noise hypernetwork"
        )
    adapter = load_adapter(folder, generator)
    assert isinstance(adapter, NoiseHypernetwork)
    return adapter


def load_weights(adapter: Adapter, folder: Path) -> None:
    """Load the weights of a folder into an adapter.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is damaged, or the saved adapter has another generator, class, rank or scale.
    """
    config = read_description(folder)
    check_generator(config, adapter.generator, folder)
    for key, value in adapter.settings().items():
        if config[key] != value:
            raise ValueError(
                f"adapter {folder}: {key!r} is {config[key]!r}, this configuration has {value!r}; set "
                f"model.adapter as in {OWN_CONFIG}"
            )
    saved = load_tensors(folder / WEIGHTS, "adapter")
    saved = {name.removeprefix(PREFIX): tensor for name, tensor in saved.items()}
    load_strict(lora_state(adapter.view), saved, folder / WEIGHTS)


def load_strict(weights: Mapping[str, nn.Parameter], saved: Mapping[str, Any], file: Path) -> None:
    """Copy an adapter's tensors into LoRA weights; names and shapes must match and all values must be finite.

    Args:
        weights: LoRA weights, name -> parameter; changed in place.
        saved: saved tensors, name -> tensor.
        file: file of the tensors, for messages.

    Raises:
        ValueError: if a tensor is missing, unexpected, of another shape or not finite; the message names it.
    """
    for name in sorted(weights.keys() | saved.keys()):
        expected, shape = (list(part[name].shape) if name in part else None for part in (weights, saved))
        if expected is None:
            raise ValueError(
                f"adapter {file}: unexpected tensor {name}, which the generator's network has no weight for"
            )
        if shape != expected:
            fault = "is missing" if shape is None else f"has shape {shape}"
            raise ValueError(f"adapter {file}: tensor {name} {fault}; expected shape {expected}")
        _check_finite(name, saved[name], file)
    with torch.no_grad():
        for name, parameter in weights.items():
            parameter.copy_(saved[name])


def check_weights(folder: Path, rank: int) -> None:
    """Check an adapter's weights without its generator.

    Args:
        folder: adapter folder.
        rank: LoRA rank in its description.

    Raises:
        ValueError: if the file is damaged or empty, or a tensor is not finite or has another rank.
    """
    file = folder / WEIGHTS
    saved = load_tensors(file, "adapter")
    if not saved:
        raise ValueError(f"adapter {file}: it has no tensors; give another adapter")
    for name, tensor in sorted(saved.items()):
        _check_finite(name, tensor, file)
        ranks = {"lora_A": tensor.shape[:1], "lora_B": tensor.shape[1:2]}
        for part, size in ranks.items():
            if f".{part}." in name and list(size) != [rank]:
                raise ValueError(
                    f"adapter {file}: tensor {name} has shape {list(tensor.shape)}, but {OWN_CONFIG} has rank {rank}; "
                    "give another adapter"
                )


def _check_finite(name: str, tensor: Any, file: Path) -> None:
    if not bool(tensor.isfinite().all()):
        raise ValueError(
            f"adapter {file}: tensor {name} has values that are not finite; give an adapter of an earlier step, "
            "such as adapter-best, or train again with a lower learning rate"
        )
