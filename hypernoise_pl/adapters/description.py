"""The description in an adapter folder: its generator and the settings that its weights depend on."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

from torch import nn

from hypernoise_pl.adapters.folder import OWN_CONFIG, PEFT_CONFIG, WEIGHTS, check_folder
from hypernoise_pl.distributed.fsdp import gather
from hypernoise_pl.generators.base import Generator
from hypernoise_pl.generators.portable import local_description, portable_description
from hypernoise_pl.lora.adapter import Adapter

FORMAT = 3
KEYS = ("format", "generator", "noise_shape", "last_layer", "fingerprint", "adapts", "mode", "rank", "alpha", "targets")


def adapter_description(adapter: Adapter, penalty: dict[str, Any] | None = None) -> dict[str, Any]:
    """The description of an adapter, the content of ``hypernoise.json``.

    Args:
        adapter: noise hypernetwork or LoRA on the generator.
        penalty: class and numbers of the training penalty, stored for reference.
    """
    return {
        "format": FORMAT,
        "generator": portable_description(adapter.generator),
        "options": trained_options(adapter.generator),
        **_generator_record(adapter.generator),
        **adapter.settings(),
        "init": adapter.lora.init,
        "penalty": penalty or {},
    }


def read_description(folder: Path) -> dict[str, Any]:
    """Read the description in an adapter folder.

    Raises:
        FileNotFoundError: if the folder or one of its files is missing.
        ValueError: if the description is damaged or of another format.
    """
    check_folder(folder)
    for name in (OWN_CONFIG, PEFT_CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            hint = f"; it has {folder / 'adapter'}" if (folder / "adapter").is_dir() else ""
            fault = f"no {name} in that folder{hint}" if folder.exists() else f"no such folder, so no {name} in it"
            raise FileNotFoundError(f"adapter {folder}: {fault}")
    try:
        description: dict[str, Any] = json.loads((folder / OWN_CONFIG).read_text())
        missing = [key for key in KEYS if key not in description]
    except (ValueError, TypeError) as error:
        raise ValueError(f"adapter {folder / OWN_CONFIG}: damaged: {error}; give another adapter") from error
    if missing:
        raise ValueError(f"adapter {folder / OWN_CONFIG}: damaged: no {missing[0]!r} in it; give another adapter")
    if description["format"] != FORMAT:
        raise ValueError(
            f"adapter {folder}: format {description['format']}, this version reads {FORMAT}; save the adapter again"
        )
    return description


def generator_config(folder: Path) -> dict[str, Any]:
    """The configuration of the generator that an adapter was trained with, for this machine.

    Returns:
        ``class_path`` and ``init_args``, as at ``model.init_args.generator`` of a configuration.

    Raises:
        FileNotFoundError: if the adapter, one of its files, or the local folder of its generator is missing.
        ValueError: if the description is damaged or of another format.
    """
    return local_description(read_description(folder)["generator"], folder)


def check_generator(description: dict[str, Any], generator: Generator, folder: Path) -> None:
    """Raise ``ValueError`` if an adapter was trained with another generator; warn if a generator option differs."""
    own = _generator_record(generator)
    prints = description["fingerprint"], own["fingerprint"]
    same = all(description[key] == own[key] for key in ("noise_shape", "last_layer"))
    same = same and len(prints[0]) == len(prints[1])
    if not same or any(abs(one - other) > 0.05 for one, other in zip(*prints)):
        trained = f"{description['generator']['name']} (noise {description['noise_shape']})"
        raise ValueError(
            f"adapter {folder}: trained with generator {trained}, not "
            f"{generator.name} (noise {own['noise_shape']}) or not with these weights; use its own generator"
        )
    now = trained_options(generator)
    for name, value in description.get("options", {}).items():  # earlier versions did not store them
        if now.get(name) != value:
            warnings.warn(
                f"adapter {folder}: trained with {name} {value!r}, this generator has {now.get(name)!r}", stacklevel=4
            )


def adapter_digest(folder: Path) -> str:
    """A hash of an adapter's weights and settings; equal for equal contents."""
    config = {key: value for key, value in read_description(folder).items() if key not in ("generator", "penalty")}
    return hashlib.sha256((folder / WEIGHTS).read_bytes() + json.dumps(config, sort_keys=True).encode()).hexdigest()[
        :16
    ]


def fingerprint(network: nn.Module) -> list[float]:
    """A few numbers that identify a network's weights, independent of precision, folder and device.

    Each number belongs to one of up to 32 weights, spread over the network: of its first 4096 elements, the sum of the
    even minus the sum of the odd, divided by their norm. It is about N(0, 1) over weights; half precision changes it by
    less than 0.01.
    """
    weights = list(network.parameters())
    numbers = []
    for parameter in weights[:: -(-len(weights) // 32)]:
        x = gather(parameter.detach()).flatten()[:4096].double()
        numbers.append(round(((x[::2].sum() - x[1::2].sum()) / x.norm().clamp(min=1e-30)).item(), 4))
    return numbers


def trained_options(generator: Generator) -> dict[str, Any]:
    """The JSON values of the generator options that a hypernetwork depends on."""
    options: dict[str, Any] = json.loads(
        json.dumps({name: getattr(generator, name) for name in generator.trained_options})
    )
    return options


def _generator_record(generator: Generator) -> dict[str, Any]:
    return {
        "noise_shape": list(generator.noise_shape),
        "last_layer": generator.last_layer,
        "fingerprint": fingerprint(generator.network),
    }
