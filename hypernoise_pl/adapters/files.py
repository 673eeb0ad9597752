"""Adapters on disk: PEFT's own files, and a small one that says what they belong to."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from hypernoise_pl.checkpoints.loading import load_tensors
from hypernoise_pl.distributed.fsdp import whole
from hypernoise_pl.generators.base import Generator
from hypernoise_pl.generators.portable import local_description, portable_description
from hypernoise_pl.hypernetwork import LoraOptions, NoiseHypernetwork, lora_state
from hypernoise_pl.system.files import write_tensors

WEIGHTS, PEFT_CONFIG, OWN_CONFIG = "adapter_model.safetensors", "adapter_config.json", "hypernoise.json"
PREFIX = "base_model.model."  # of every key in a PEFT file
FORMAT = 2
KEYS = ("format", "generator", "noise_shape", "last_layer", "fingerprint", "adapts", "mode", "rank", "alpha", "targets")


def save_adapter(
    hypernetwork: Any,
    generator: Generator,
    folder: str | Path,
    penalty: dict[str, Any] | None = None,
    writes: bool = True,
) -> Path:
    """Write an adapter folder; an older one is replaced only once the new one is whole.

    Where weights are spread over processes, all of them must call this, and one of them writes.

    Args:
        hypernetwork: a ``NoiseHypernetwork``, or an adapted generator (direct fine-tuning).
        generator: the one it was trained with.
        folder: to write.
        penalty: what moving the noise cost in training, for the record.
        writes: whether this process writes, or only gives what it holds.

    Returns:
        The folder.

    Raises:
        OSError: if it cannot be written (a full disk), or the folder holds something else; what was there before is
            still there.
    """
    folder = Path(folder)
    about: dict[str, Any] = {
        "format": FORMAT,
        "generator": portable_description(generator),
        "options": trained_options(generator),
        **_of_generator(generator),
        **settings_of(hypernetwork),
        "init": hypernetwork.options.init,
        "penalty": penalty or {},
    }
    state = {name: whole(weight.detach()).cpu() for name, weight in lora_state(hypernetwork.view).items()}
    base = about["generator"]["name"]
    return write_folder(folder, state, base, hypernetwork.options, {}, about) if writes else folder


def write_folder(
    folder: Path,
    state: dict[str, Any],
    base: str,
    options: LoraOptions,
    settings: dict[str, Any],
    about: dict[str, Any] | None = None,
    pickled: bool = False,
) -> Path:
    """Write PEFT's files of an adapter; an older folder is replaced only once the new one is whole.

    Args:
        folder: to write.
        state: name -> weight, with no prefix.
        base: what the adapter is for.
        options: rank and scale.
        settings: of ``LoraConfig``, besides.
        about: of our own description; None for none.
        pickled: ``adapter_model.bin`` in the place of safetensors.

    Raises:
        OSError: if it cannot be written, or the folder holds something else; what was there before is still there.
    """
    from peft import LoraConfig
    from safetensors import SafetensorError

    scale: Any = {"r": options.rank, "lora_alpha": options.alpha}  # peft speaks of a whole alpha and takes any
    config = LoraConfig(base_model_name_or_path=base, inference_mode=True, **scale, **settings)
    config.target_modules = sorted({name.rsplit(".lora_", 1)[0] for name in state})  # as a set, in any order
    partial = folder.with_name(f".{folder.name}-{os.getpid()}")
    try:
        _check_replaceable(folder)
        partial.mkdir(parents=True)
        weights = {PREFIX + name: p.detach().cpu().contiguous() for name, p in state.items()}
        if pickled:
            torch.save(weights, partial / "adapter_model.bin")
        else:
            write_tensors(partial / WEIGHTS, weights, {"format": "pt"})
        config.save_pretrained(str(partial))
        if about is not None:
            (partial / OWN_CONFIG).write_text(json.dumps(about, indent=1) + "\n")
        replace_folder(partial, folder)
    except (OSError, SafetensorError) as error:
        raise OSError(f"adapter {folder}: not written, what was there is unchanged: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _check_replaceable(folder: Path) -> None:
    """Raise ``FileExistsError`` for a folder of other files than an adapter's: they would be lost."""
    if folder.is_dir() and not (folder / PEFT_CONFIG).is_file() and (other := next(folder.iterdir(), None)):
        raise FileExistsError(f"the folder is no adapter's, it has {other.name!r} in it; give a folder of its own")


def load_adapter(folder: str | Path, generator: Generator) -> NoiseHypernetwork:
    """The hypernetwork of an adapter folder, over a generator.

    Raises:
        FileNotFoundError: if the folder or one of its files is missing.
        ValueError: if a file is damaged, or the adapter was trained with another generator.
    """
    folder = Path(folder)
    about = describe(folder)
    if about["adapts"] != "noise":
        raise ValueError(f"adapter {folder}: it adapts the generator itself and refines no noise")
    _check_generator(about, generator, folder)
    targets: Literal["all"] | list[str] = about["targets"]
    options = LoraOptions(about["rank"], about["alpha"], targets)
    hypernetwork = NoiseHypernetwork(generator, options, about["mode"])
    restore(hypernetwork, generator, folder)
    return hypernetwork


def restore(hypernetwork: Any, generator: Generator, folder: Path) -> None:
    """Load an adapter's weights into a module that has a LoRA view of this generator's network.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if one is damaged, or the adapter is of another generator, kind, rank or scale.
    """
    about = describe(folder)
    _check_generator(about, generator, folder)
    for key, value in settings_of(hypernetwork).items():
        if about[key] != value:
            raise ValueError(
                f"adapter {folder}: its {key!r} is {about[key]!r}, this configuration has {value!r}; set the model's "
                f"class, lora and mode as in {OWN_CONFIG}"
            )
    saved = load_tensors(folder / WEIGHTS, "adapter")
    saved = {name.removeprefix(PREFIX): tensor for name, tensor in saved.items()}
    fill(lora_state(hypernetwork.view), saved, folder / WEIGHTS)


def fill(weights: Mapping[str, nn.Parameter], saved: Mapping[str, Any], file: Path) -> None:
    """Put an adapter's tensors into LoRA weights: each gets one, none is left over, every value is finite.

    Args:
        weights: name -> weight; changed in place.
        saved: name -> tensor.
        file: that they come from, for messages.

    Raises:
        ValueError: naming the first tensor that is missing, too many, of another shape, or not finite.
    """
    for name in sorted(weights.keys() | saved.keys()):
        wanted, found = (list(part[name].shape) if name in part else None for part in (weights, saved))
        if wanted is None:
            raise ValueError(f"adapter {file}: the generator's network has no weights for its tensor {name}")
        if found != wanted:
            is_there = "is missing" if found is None else f"has shape {found}"
            raise ValueError(f"adapter {file}: tensor {name} {is_there}, where {wanted} is wanted")
        _check_finite(name, saved[name], file)
    with torch.no_grad():
        for name, parameter in weights.items():
            parameter.copy_(saved[name])


def check_weights(folder: Path, rank: int) -> None:
    """Check an adapter's weights as far as that goes without its generator.

    Args:
        folder: of the adapter.
        rank: that its description has.

    Raises:
        ValueError: if the file is damaged or empty, a tensor is not finite, or has another rank.
    """
    file = folder / WEIGHTS
    saved = load_tensors(file, "adapter")
    if not saved:
        raise ValueError(f"adapter {file}: no tensors in it; give another adapter")
    for name, tensor in sorted(saved.items()):
        _check_finite(name, tensor, file)
        of_rank = {"lora_A": tensor.shape[:1], "lora_B": tensor.shape[1:2]}
        for part, found in of_rank.items():
            if f".{part}." in name and list(found) != [rank]:
                raise ValueError(
                    f"adapter {file}: tensor {name} has shape {list(tensor.shape)}, and {OWN_CONFIG} says rank {rank}; "
                    "give another adapter"
                )


def _check_finite(name: str, tensor: Any, file: Path) -> None:
    if not bool(tensor.isfinite().all()):
        raise ValueError(
            f"adapter {file}: tensor {name} has values that are not finite; give an adapter of an earlier step, "
            "such as adapter-best, or train anew with a lower rate"
        )


def describe(folder: Path) -> dict[str, Any]:
    """What an adapter folder says of itself.

    Raises:
        FileNotFoundError: if the folder or a file of it is missing.
        ValueError: if its description is damaged or of a later format.
    """
    check_folder(folder)
    for name in (OWN_CONFIG, PEFT_CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            hint = f"; it has {folder / 'adapter'}" if (folder / "adapter").is_dir() else ""
            what = f"no {name} in that folder{hint}" if folder.exists() else f"no such folder, so no {name} in it"
            raise FileNotFoundError(f"adapter {folder}: {what}")
    try:
        about: dict[str, Any] = json.loads((folder / OWN_CONFIG).read_text())
        missing = [key for key in KEYS if key not in about]
    except (ValueError, TypeError) as error:
        raise ValueError(f"adapter {folder / OWN_CONFIG}: damaged: {error}; give another adapter") from error
    if missing:
        raise ValueError(f"adapter {folder / OWN_CONFIG}: damaged: no {missing[0]!r} in it")
    if about["format"] != FORMAT:
        raise ValueError(f"adapter {folder}: format {about['format']}, this version reads {FORMAT}; save it again")
    return about


def generator_of(folder: Path) -> dict[str, Any]:
    """Class and arguments that build, on this machine, the generator that an adapter was trained with.

    Returns:
        ``class_path`` and ``init_args``, as a configuration has them at ``model.init_args.generator``.

    Raises:
        FileNotFoundError: if the adapter, a file of it, or the local folder of its generator is missing.
        ValueError: if its description is damaged or of another format.
    """
    return local_description(describe(folder)["generator"], folder)


def check_folder(folder: Path) -> None:
    """Raise ``NotADirectoryError`` for a file where an adapter's folder is wanted."""
    if folder.exists() and not folder.is_dir():
        inside = folder.name in (OWN_CONFIG, PEFT_CONFIG, WEIGHTS)
        hint = f"give its folder: {folder.parent}" if inside else "give the folder that fit wrote, RUN/adapter"
        raise NotADirectoryError(f"adapter {folder}: a file; {hint}")


def fingerprint(network: nn.Module) -> list[float]:
    """A few numbers that tell one network's weights from another's, whatever their precision, folder or device.

    Of up to 32 weights spread over the network, in their first 4096 elements, the difference between even and odd
    ones over the norm: about N(0, 1) over weights, and half precision moves it by less than 0.01.
    """
    weights = list(network.parameters())
    found = []
    for parameter in weights[:: -(-len(weights) // 32)]:
        x = whole(parameter.detach()).flatten()[:4096].double()
        found.append(round(((x[::2].sum() - x[1::2].sum()) / x.norm().clamp(min=1e-30)).item(), 4))
    return found


def trained_options(generator: Generator) -> dict[str, Any]:
    """The values of a generator's options that change what a hypernetwork sees, as JSON has them."""
    found: dict[str, Any] = json.loads(
        json.dumps({name: getattr(generator, name) for name in generator.trained_options})
    )
    return found


def _of_generator(generator: Generator) -> dict[str, Any]:
    return {
        "noise_shape": list(generator.noise_shape),
        "last_layer": generator.last_layer,
        "fingerprint": fingerprint(generator.network),
    }


def settings_of(hypernetwork: Any) -> dict[str, Any]:
    """What gives an adapter's weights their meaning: what it adapts, mode, rank, alpha and targets."""
    noise = isinstance(hypernetwork, NoiseHypernetwork)
    return {
        "adapts": "noise" if noise else "generator",
        "mode": hypernetwork.mode if noise else None,
        "rank": hypernetwork.options.rank,
        "alpha": hypernetwork.options.alpha,
        "targets": hypernetwork.options.targets,
    }


def _check_generator(about: dict[str, Any], generator: Generator, folder: Path) -> None:
    own = _of_generator(generator)
    prints = about["fingerprint"], own["fingerprint"]
    same = all(about[key] == own[key] for key in ("noise_shape", "last_layer")) and len(prints[0]) == len(prints[1])
    if not same or any(abs(one - other) > 0.05 for one, other in zip(*prints)):
        trained = f"{about['generator']['name']} (noise {about['noise_shape']})"
        raise ValueError(
            f"adapter {folder}: trained with generator {trained}, not "
            f"{generator.name} (noise {own['noise_shape']}) or not these weights of it; use its own generator"
        )
    now = trained_options(generator)
    for name, value in about.get("options", {}).items():  # adapters of an earlier version say nothing of them
        if now.get(name) != value:
            warnings.warn(
                f"adapter {folder}: trained with {name} {value!r}, this generator has {now.get(name)!r}", stacklevel=4
            )


def replace_folder(partial: Path, folder: Path) -> None:
    """Put a whole new folder where an older one may be; if that fails, put the older one back."""
    old = partial.with_name(partial.name + "-old")
    if folder.exists():
        os.replace(folder, old)
    try:
        os.replace(partial, folder)
    except OSError:
        if old.exists():
            os.replace(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
