"""Adapters on disk: PEFT's own files, and a small one that says what they belong to."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Literal

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.hypernetwork import LoraOptions, NoiseHypernetwork, lora_state

WEIGHTS, PEFT_CONFIG, OWN_CONFIG = "adapter_model.safetensors", "adapter_config.json", "hypernoise.json"
PREFIX = "base_model.model."  # of every key in a PEFT file


def save_adapter(hypernetwork: Any, generator: Generator, folder: Path, penalty: dict[str, Any] | None = None) -> Path:
    """Write an adapter folder; an older one is replaced only once the new one is whole.

    Args:
        hypernetwork: a ``NoiseHypernetwork``, or an adapted generator (direct fine-tuning).
        generator: the one it was trained with.
        folder: to write.
        penalty: what moving the noise cost in training, for the record.

    Returns:
        The folder.

    Raises:
        OSError: if it cannot be written (a full disk); what was there before is still there.
    """
    from peft import LoraConfig
    from safetensors.torch import save_file

    options = hypernetwork.options
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        state = lora_state(hypernetwork.view)
        weights = {PREFIX + name: p.detach().cpu().contiguous() for name, p in state.items()}
        targets = sorted({name.rsplit(".lora_", 1)[0] for name in state})
        save_file(weights, partial / WEIGHTS, metadata={"format": "pt"})
        config = LoraConfig(r=options.rank, lora_alpha=options.alpha, target_modules=targets)
        config.inference_mode = True
        config.save_pretrained(str(partial))
        about = {
            "format": 1,
            "generator": generator.name,
            "noise_shape": list(generator.noise_shape),
            "last_layer": generator.last_layer,
            "adapts": "noise" if isinstance(hypernetwork, NoiseHypernetwork) else "generator",
            "mode": getattr(hypernetwork, "mode", None),
            "rank": options.rank,
            "alpha": options.alpha,
            "targets": options.targets,
            "penalty": penalty or {},
        }
        (partial / OWN_CONFIG).write_text(json.dumps(about, indent=1) + "\n")
        _replace(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return folder


def load_adapter(folder: Path, generator: Generator) -> NoiseHypernetwork:
    """The hypernetwork of an adapter folder, over a generator.

    Raises:
        FileNotFoundError: if the folder or one of its files is missing.
        ValueError: if a file is damaged, or the adapter was trained with another generator.
    """
    about = describe(folder)
    if about["adapts"] != "noise":
        raise ValueError(f"adapter {folder}: it adapts the generator itself and refines no noise")
    hypernetwork = NoiseHypernetwork(generator, _options(about), about["mode"])
    restore(hypernetwork, generator, folder)
    return hypernetwork


def restore(hypernetwork: Any, generator: Generator, folder: Path) -> Any:
    """Load an adapter's weights into a module that has a LoRA view of this generator's network.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if it is damaged or does not fit.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    about = describe(folder)
    if about["noise_shape"] != list(generator.noise_shape) or about["last_layer"] != generator.last_layer:
        raise ValueError(
            f"adapter {folder} was trained with generator {about['generator']} (noise {about['noise_shape']}) and does "
            f"not fit {generator.name} (noise {list(generator.noise_shape)}); load it with its own generator"
        )
    try:
        saved = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise ValueError(f"adapter {folder / WEIGHTS}: damaged file: {error}") from error
    own = lora_state(hypernetwork.view)
    saved = {name.removeprefix(PREFIX): tensor for name, tensor in saved.items()}
    if {n: t.shape for n, t in saved.items()} != {n: p.shape for n, p in own.items()}:
        raise ValueError(
            f"adapter {folder} was trained with generator {about['generator']} and does not fit the layers of "
            f"{generator.name}; load it with its own generator"
        )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(saved[name])
    return hypernetwork


def describe(folder: Path) -> dict[str, Any]:
    """What an adapter folder says of itself.

    Raises:
        FileNotFoundError: if the folder or a file of it is missing.
        ValueError: if its description is damaged.
    """
    for name in (OWN_CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"adapter {folder}: no {name} in that folder")
    try:
        about: dict[str, Any] = json.loads((folder / OWN_CONFIG).read_text())
        _ = [about[key] for key in ("generator", "noise_shape", "last_layer", "adapts", "rank", "alpha", "targets")]
    except (ValueError, KeyError) as error:
        raise ValueError(f"adapter {folder / OWN_CONFIG}: damaged file: {error}") from error
    return about


def _options(about: dict[str, Any]) -> LoraOptions:
    targets: Literal["all"] | list[str] = about["targets"]
    return LoraOptions(about["rank"], about["alpha"], targets)


def _replace(partial: Path, folder: Path) -> None:
    """Put a whole new folder where an older one may be."""
    old = partial.with_name(partial.name + "-old")
    if folder.exists():
        os.replace(folder, old)
    os.replace(partial, folder)
    shutil.rmtree(old, ignore_errors=True)
