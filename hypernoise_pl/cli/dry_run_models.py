"""Models in a dry run: counted without their weights, and looked up on this machine and on the hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import torch

from hypernoise_pl.checkpoints.loading import UNREACHED, check_model_name, hub_reason
from hypernoise_pl.checkpoints.meta_device import (
    count_parameters,
    count_stored_parameters,
    find_model_folder,
    meta_pipeline,
    missing_weights,
)
from hypernoise_pl.cli.dry_run_report import Findings, bytes_in_words, parameters_in_words
from hypernoise_pl.cli.errors import first_cause
from hypernoise_pl.config.signatures import class_path_of, find_class, parameters
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.adapter import Adapter
from hypernoise_pl.lora.view import trainable
from hypernoise_pl.training.memory import activation_bytes

OPTIMIZER_STATES = {"SGD": 1, "AdamW": 2, "Adam": 2}  # numbers that an optimiser keeps for each weight


def look_at_generator(command: str, config: Mapping[str, Any], findings: Findings) -> None:
    """Build the generator without its weights, and count its parameters and the trained ones."""
    described = config["model"]["init_args"]["generator"]
    arguments = dict(described.get("init_args") or {})
    name = str(arguments.pop("model", ""))
    folder = _model_folder(name, "model.generator", findings)
    if folder is None or not (folder / "model_index.json").is_file():
        return
    dtype = getattr(torch, str(arguments.get("dtype") or "float32"))
    findings.missing.extend(f"model.generator {name}: {line}" for line in missing_weights(folder))
    try:
        with torch.no_grad():
            pipeline = meta_pipeline(folder, dtype)
            cls: Any = find_class(described["class_path"])
            generator = cls(pipeline, **_with_dataclasses(cls, arguments))
        for part, module in pipeline.components.items():
            if isinstance(module, torch.nn.Module):
                findings.add(f"generator, {part}", parameters_in_words(*count_parameters(module)) + _kept_note(name))
        if command == "fit":
            adapter = _adapter(config, generator)
            findings.add("trains", _trained_line(config, adapter))
            findings.add("", _activations_line(config, adapter))
    except (OSError, ValueError) as error:
        findings.missing.append(f"model.generator: {' '.join(str(error).split())}")
    except Exception as error:  # an option that needs the weights
        findings.add("generator", f"not built without its weights ({type(error).__name__}: {first_cause(error)})")


def _with_dataclasses(cls: type, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a class, with mappings replaced by the dataclasses that it takes."""
    types = parameters(cls)
    return {
        name: types[name](**value) if isinstance(value, Mapping) and is_dataclass(types.get(name)) else value
        for name, value in arguments.items()
    }


def _adapter(config: Mapping[str, Any], generator: Any) -> Adapter:
    """The adapter that is trained, over a generator without weights."""
    described = config["model"]["init_args"].get("adapter") or {"class_path": class_path_of(NoiseHypernetwork)}
    cls: Any = find_class(described["class_path"])
    adapter: Adapter = cls(generator, **_with_dataclasses(cls, described.get("init_args") or {}))
    return adapter


def _trained_line(config: Mapping[str, Any], adapter: Adapter) -> str:
    model = config["model"]["init_args"]
    weights = sum(parameter.numel() for parameter in trainable(adapter.view))
    optimizer = model.get("optimizer") or {}
    states = OPTIMIZER_STATES.get(str(optimizer.get("class_path", "AdamW")).rpartition(".")[2])
    memory = "" if states is None else f"; with gradient and optimiser {bytes_in_words(weights * 4 * (2 + states))}"
    noise = " x ".join(map(str, adapter.generator.noise_shape))
    kind = {"generator": "generator itself", "noise": "noise hypernetwork"}[adapter.adapts]
    rank = adapter.lora.rank
    return f"{weights:,} weights, LoRA of rank {rank}, {kind}{memory}; noise {noise}"


def _activations_line(config: Mapping[str, Any], adapter: Adapter) -> str:
    """Memory of the activations of a training step."""
    model, batch = config["model"]["init_args"], (config["data"].get("init_args") or {}).get("batch_size")
    if not isinstance(batch, int) or batch < 1:
        return "activations not estimated: no data.batch_size"
    try:
        if model.get("checkpoint_activations"):
            adapter.generator.checkpoint_activations()
            adapter.generator.checkpoint_activations(adapter.view)
        half = "mixed" in str((config.get("trainer") or {}).get("precision"))
        size = activation_bytes(adapter, batch, model.get("steps") or 1, half)
    except Exception as error:  # a model that reads values, which tensors without data do not have
        return f"activations not estimated: {type(error).__name__}: {first_cause(error)[:120]}"
    return f"activations of {batch} images about {bytes_in_words(size)}, besides those of the rewards"


def look_at_reward(name: str, config: Mapping[str, Any] | None, findings: Findings) -> None:
    """Count the parameters of a reward."""
    if config is None:
        return
    model = (config.get("init_args") or {}).get("model")
    if model is None:
        findings.add(f"reward, {name}", f"{_class_name(config)}, without weights of its own")
        return
    _look_at_model(f"reward, {name}", f"model.rewards.{name}", config, findings)


def look_at_parts(key: str, config: Mapping[str, Any], findings: Findings) -> None:
    """Count the parameters of every model of a judge or benchmark."""
    for part_key, part in parts_with_models(key, config):
        _look_at_model(", ".join(part_key.split(".")), part_key, part, findings)


def parts_with_models(key: str, config: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Dotted key and configuration of every class with an argument ``model`` in a configuration with defaults."""
    arguments = config.get("init_args") or {}
    if isinstance(arguments.get("model"), str):
        yield key, config
    for name, value in arguments.items():
        if isinstance(value, Mapping) and "class_path" in value:
            yield from parts_with_models(f"{key}.{name}", value)


def _look_at_model(name: str, key: str, config: Mapping[str, Any], findings: Findings) -> None:
    model = str(config["init_args"]["model"])
    folder = _model_folder(model, key, findings)
    if folder is not None:
        try:
            weights = (
                bytes_in_words(other)
                if (other := _other_weights(folder))
                else parameters_in_words(*count_stored_parameters(folder))
            )
            findings.add(name, f"{_class_name(config)}, {weights}{_kept_note(model)}")
        except ValueError as error:
            findings.missing.append(f"{key}: {error}")


def _class_name(config: Mapping[str, Any]) -> str:
    return str(config["class_path"]).rpartition(".")[2]


def _other_weights(folder: Path) -> int:
    """Bytes of the weights of a folder that has no safetensors files."""
    if any(folder.rglob("*.safetensors")):
        return 0
    return sum(file.stat().st_size for file in folder.rglob("*") if file.suffix in (".bin", ".pt", ".pth"))


def _model_folder(model: str, key: str, findings: Findings) -> Path | None:
    """The folder of a model; None if it is not on this machine, and then the hub is asked about it."""
    try:
        check_model_name(model, key)
    except OSError as error:
        findings.missing.append(str(error))
        return None
    folder = find_model_folder(model)
    if folder is None and not Path(model).is_file():  # a file has weights alone
        _ask_hub(model, key, findings)
    return folder


def _ask_hub(model: str, key: str, findings: Findings) -> None:
    from huggingface_hub import HfApi

    try:
        info = HfApi().model_info(model, timeout=10, files_metadata=True)
    except Exception as error:
        reason = hub_reason(error, model)
        if reason is None:
            raise
        if reason.startswith(UNREACHED):
            findings.add(key, f"{model}: not on this machine; not checked, for the hub cannot be reached")
            findings.unknown.append(model)
        else:
            findings.missing.append(f"{key} {model}: {reason}")
        return
    size = sum(file.size or 0 for file in info.siblings or ())
    findings.add(key, f"{model}: not on this machine; the hub has it, {bytes_in_words(size)} in all its files")


def _kept_note(model: str) -> str:
    """A note on where a model is kept that is no folder of the user."""
    return "" if Path(model).is_dir() else "; kept on this machine by the hub's client"
