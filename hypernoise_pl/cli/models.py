"""What a dry run finds of models: counted without their weights, and looked for on this machine and on the hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import torch

from hypernoise_pl.checkpoints.loading import check_model_name, hub_reason
from hypernoise_pl.checkpoints.meta_device import (
    count_parameters,
    count_stored_parameters,
    find_model_folder,
    meta_pipeline,
    missing_weights,
)
from hypernoise_pl.cli.errors import first_cause
from hypernoise_pl.cli.found import Found, counted, in_bytes
from hypernoise_pl.config.signatures import class_path_of, find_class, parameters
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.adapter import Adapter
from hypernoise_pl.lora.view import trainable
from hypernoise_pl.training.memory import activations

STATES = {"SGD": 1, "AdamW": 2, "Adam": 2}  # numbers that an optimiser keeps for each weight


def look_at_generator(command: str, config: Mapping[str, Any], found: Found) -> None:
    """Build the generator without its weights, and count them and what is trained."""
    model = config["model"]["init_args"]
    told = model["generator"]
    arguments = dict(told.get("init_args") or {})
    name = str(arguments.pop("model", ""))
    folder = _place(name, "model.generator", found)
    if folder is None or not (folder / "model_index.json").is_file():
        return
    dtype = getattr(torch, str(arguments.get("dtype") or "float32"))
    found.missing.extend(f"model.generator {name}: {line}" for line in missing_weights(folder))
    try:
        with torch.no_grad():
            pipeline = meta_pipeline(folder, dtype)
            kind: Any = find_class(told["class_path"])
            generator = kind(pipeline, **_with_dataclasses(kind, arguments))
        for part, module in pipeline.components.items():
            if isinstance(module, torch.nn.Module):
                found.say(f"generator, {part}", counted(*count_parameters(module)) + _kept(name))
        if command == "fit":
            adapter = _adapter(config, generator)
            found.say("trains", _trained(config, adapter))
            found.say("", _activations(config, adapter))
    except (OSError, ValueError) as error:
        found.missing.append(f"model.generator: {' '.join(str(error).split())}")
    except Exception as error:  # an option that needs the weights themselves
        found.say("generator", f"not built without its weights ({type(error).__name__}: {first_cause(error)})")


def _with_dataclasses(kind: type, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a class, with what it takes as a dataclass made of a mapping."""
    types = parameters(kind)
    return {
        name: types[name](**value) if isinstance(value, Mapping) and is_dataclass(types.get(name)) else value
        for name, value in arguments.items()
    }


def _adapter(config: Mapping[str, Any], generator: Any) -> Adapter:
    """The adapter that is trained, over a generator without weights."""
    trained = config["model"]["init_args"].get("adapter") or {"class_path": class_path_of(NoiseHypernetwork)}
    cls: Any = find_class(trained["class_path"])
    adapter: Adapter = cls(generator, **_with_dataclasses(cls, trained.get("init_args") or {}))
    return adapter


def _trained(config: Mapping[str, Any], adapter: Adapter) -> str:
    model = config["model"]["init_args"]
    weights = sum(parameter.numel() for parameter in trainable(adapter.view))
    optimizer = model.get("optimizer") or {}
    states = STATES.get(str(optimizer.get("class_path", "AdamW")).rpartition(".")[2])
    memory = "" if states is None else f"; with gradient and optimiser {in_bytes(weights * 4 * (2 + states))}"
    noise = " x ".join(map(str, adapter.generator.noise_shape))
    kind = {"generator": "generator itself", "noise": "noise hypernetwork"}[adapter.adapts]
    rank = adapter.lora.rank
    return f"{weights:,} weights, LoRA of rank {rank}, {kind}{memory}; noise {noise}"


def _activations(config: Mapping[str, Any], adapter: Adapter) -> str:
    """What a step's forward and backward hold."""
    model, batch = config["model"]["init_args"], (config["data"].get("init_args") or {}).get("batch_size")
    if not isinstance(batch, int) or batch < 1:
        return "activations not estimated: no data.batch_size"
    try:
        if model.get("checkpoint_activations"):
            adapter.generator.checkpoint_activations()
            adapter.generator.checkpoint_activations(adapter.view)
        half = "mixed" in str((config.get("trainer") or {}).get("precision"))
        size = activations(adapter, batch, model.get("steps") or 1, half)
    except Exception as error:  # a model that looks at values, which a tensor without data does not have
        return f"activations not estimated: {type(error).__name__}: {first_cause(error)[:120]}"
    return f"activations of {batch} images about {in_bytes(size)}, besides those of the rewards"


def look_at_reward(name: str, told: Mapping[str, Any] | None, found: Found) -> None:
    """Count the weights of a reward."""
    if told is None:
        return
    model = (told.get("init_args") or {}).get("model")
    if model is None:
        found.say(f"reward, {name}", f"{_kind(told)}, without weights of its own")
        return
    _look_at_model(f"reward, {name}", f"model.rewards.{name}", told, found)


def look_at_parts(key: str, told: Mapping[str, Any], found: Found) -> None:
    """Count the weights of every model of a judge or benchmark."""
    for place, part in parts_with_models(key, told):
        _look_at_model(", ".join(place.split(".")), place, part, found)


def parts_with_models(key: str, told: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Place and configuration of every class with an argument ``model``, in a class's configuration with defaults."""
    arguments = told.get("init_args") or {}
    if isinstance(arguments.get("model"), str):
        yield key, told
    for name, value in arguments.items():
        if isinstance(value, Mapping) and "class_path" in value:
            yield from parts_with_models(f"{key}.{name}", value)


def _look_at_model(name: str, key: str, told: Mapping[str, Any], found: Found) -> None:
    model = str(told["init_args"]["model"])
    folder = _place(model, key, found)
    if folder is not None:
        try:
            weights = (
                in_bytes(other) if (other := _other_weights(folder)) else counted(*count_stored_parameters(folder))
            )
            found.say(name, f"{_kind(told)}, {weights}{_kept(model)}")
        except ValueError as error:
            found.missing.append(f"{key}: {error}")


def _kind(told: Mapping[str, Any]) -> str:
    return str(told["class_path"]).rpartition(".")[2]


def _other_weights(folder: Path) -> int:
    """Bytes of the weights of a folder that has no safetensors files."""
    if any(folder.rglob("*.safetensors")):
        return 0
    return sum(file.stat().st_size for file in folder.rglob("*") if file.suffix in (".bin", ".pt", ".pth"))


def _place(model: str, key: str, found: Found) -> Path | None:
    """The folder of a model; None if it is not here: then what the hub says of it."""
    try:
        check_model_name(model, key)
    except OSError as error:
        found.missing.append(str(error))
        return None
    folder = find_model_folder(model)
    if folder is None and not Path(model).is_file():  # a file holds the weights alone
        _ask_hub(model, key, found)
    return folder


def _ask_hub(model: str, key: str, found: Found) -> None:
    from huggingface_hub import HfApi

    try:
        told = HfApi().model_info(model, timeout=10, files_metadata=True)
    except Exception as error:
        reason = hub_reason(error, model)
        if reason is None:
            raise
        if reason.startswith("not kept"):
            found.say(key, f"{model}: not on this machine; not checked, for the hub cannot be reached")
            found.unknown.append(model)
        else:
            found.missing.append(f"{key} {model}: {reason}")
        return
    size = sum(file.size or 0 for file in told.siblings or ())
    found.say(key, f"{model}: not on this machine; the hub has it, {in_bytes(size)} in all its files")


def _kept(model: str) -> str:
    """Where a model is that is not a folder of the user's."""
    return "" if Path(model).is_dir() else "; kept on this machine by the hub's client"
