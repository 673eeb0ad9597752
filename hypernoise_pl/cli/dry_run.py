"""``--dry-run``: look at everything that a command will read, and say all that is missing; nothing is made."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

import torch

from hypernoise_pl.cli.errors import first_cause
from hypernoise_pl.generators.loading import Loaded
from hypernoise_pl.hypernetwork import LoraOptions, NoiseHypernetwork, lora_view, trainable
from hypernoise_pl.options import Options
from hypernoise_pl.pretrained import check_place, hub_reason
from hypernoise_pl.run_folder import kind_of_run
from hypernoise_pl.signatures import ConfigError, find_class, parameters
from hypernoise_pl.weightless import folder_of, parameters_of, stored_parameters, weightless_pipeline

SPLITS = {
    "fit": ("train", "validation", "test"),
    "compare": ("test",),
    "cache-prompts": ("train", "validation", "test"),
}
SHOWN = 3  # prompts that are shown
STATES = {"SGD": 1, "AdamW": 2, "Adam": 2}  # numbers that an optimiser keeps for each weight


@dataclass
class Found:
    """What a dry run has found.

    Args:
        lines: name and text of what is to be said, in this order.
        missing: what is wrong or not there, a line each.
    """

    lines: list[tuple[str, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def say(self, name: str, text: str) -> None:
        """Add a line."""
        self.lines.append((name, text))


def dry_run(command: str, config: Mapping[str, Any], options: Options) -> Found:
    """Look at all that a command would read.

    Args:
        command: fit, compare or cache-prompts.
        config: resolved and checked, with every default filled in.
        options: of the command.
    """
    found = Found()
    model = config["model"]["init_args"]
    _generator(command, config, found)
    if command != "cache-prompts":
        for name, reward in (model.get("rewards") or {}).items():
            _reward(name, reward, found)
    _prompts(command, config, found)
    _work(command, config, found)
    _writes(command, config, options, found)
    return found


def check_files(command: str, config: Mapping[str, Any]) -> None:
    """Check, before any model is loaded, that folders of models and files of prompts are there.

    Args:
        command: fit, compare or cache-prompts.
        config: resolved.

    Raises:
        ConfigError: with all that is missing.
    """
    model = config["model"]["init_args"]
    told = {"generator": model["generator"]}
    if command != "cache-prompts":
        told |= {f"reward {name}": reward for name, reward in (model.get("rewards") or {}).items() if reward}
    missing = []
    for name, part in told.items():
        try:
            check_place(str((part.get("init_args") or {}).get("model", "a/b")), name)
        except OSError as error:
            missing.append(str(error))
    found, nobody = Found(), io.StringIO()
    with contextlib.redirect_stdout(nobody), contextlib.redirect_stderr(nobody):  # the run itself says it once more
        _prompts(command, config, found, judged=False)
    if missing + found.missing:
        raise ConfigError(in_lines(missing + found.missing))


def in_lines(missing: Sequence[str]) -> str:
    """What is missing: one line alone, more than one below a count."""
    return missing[0] if len(missing) == 1 else "\n  ".join([f"{len(missing)} things are missing or wrong:", *missing])


def _generator(command: str, config: Mapping[str, Any], found: Found) -> None:
    model = config["model"]["init_args"]
    told = model["generator"]
    arguments = dict(told.get("init_args") or {})
    name = str(arguments.pop("model", ""))
    folder = _place(name, "model.generator", found)
    if folder is None or not (folder / "model_index.json").is_file():
        return
    dtype = getattr(torch, str(arguments.get("dtype") or "float32"))
    try:
        with torch.no_grad():
            pipeline = weightless_pipeline(folder, dtype)
            kind: Any = find_class(told["class_path"])
            generator = kind(Loaded(pipeline), **_with_dataclasses(kind, arguments))
        for part, module in pipeline.components.items():
            if isinstance(module, torch.nn.Module):
                found.say(f"generator, {part}", _size(*parameters_of(module)))
        if command == "fit":
            found.say("trains", _trained(config, generator))
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


def _trained(config: Mapping[str, Any], generator: Any) -> str:
    model = config["model"]["init_args"]
    lora = LoraOptions(**model.get("lora") or {})
    on_generator = config["model"]["class_path"].endswith(".FineTuneModule")
    view = (
        lora_view(generator.network, lora, generator.unused_layers)
        if on_generator
        else NoiseHypernetwork(generator, lora, model.get("mode") or "residual").view
    )
    weights = sum(parameter.numel() for parameter in trainable(view))
    optimizer = model.get("optimizer") or {}
    states = STATES.get(str(optimizer.get("class_path", "AdamW")).rpartition(".")[2])
    memory = "" if states is None else f"; with gradient and optimiser {_bytes(weights * 4 * (2 + states))}"
    noise = " x ".join(map(str, generator.noise_shape))
    kind = "generator itself" if on_generator else "noise hypernetwork"
    return f"{weights:,} weights, LoRA of rank {lora.rank}, {kind}{memory}; noise {noise}"


def _reward(name: str, told: Mapping[str, Any] | None, found: Found) -> None:
    if told is None:
        return
    model = (told.get("init_args") or {}).get("model")
    kind = told["class_path"].rpartition(".")[2]
    if model is None:
        found.say(f"reward, {name}", f"{kind}, without weights of its own")
        return
    folder = _place(str(model), f"model.rewards.{name}", found)
    if folder is not None:
        try:
            found.say(f"reward, {name}", f"{kind}, {_size(*stored_parameters(folder))}")
        except ValueError as error:
            found.missing.append(f"model.rewards.{name}: {error}")


def _place(model: str, key: str, found: Found) -> Path | None:
    """The folder of a model; None if it is not here: then whether the hub has it."""
    try:
        check_place(model, key)
    except OSError as error:
        found.missing.append(str(error))
        return None
    folder = folder_of(model)
    if folder is None and Path(model).is_file():
        return None  # weights in one file
    if folder is None:
        from huggingface_hub import HfApi

        try:
            HfApi().model_info(model, timeout=10)
            found.say(key, f"{model}: not on this machine, the hub has it")
        except Exception as error:
            reason = hub_reason(error, model)
            if reason is None:
                raise
            if reason.startswith("not kept"):
                found.say(key, f"{model}: not on this machine; not checked, for the hub cannot be reached")
            else:
                found.missing.append(f"{key} {model}: {reason}")
    return folder


def _prompts(command: str, config: Mapping[str, Any], found: Found, judged: bool = True) -> None:
    data = _made("data", config)
    if isinstance(data, Exception):
        found.missing.append(first_cause(data))
        return
    judge = _made("judge", config) if judged and command != "cache-prompts" else None
    if isinstance(judge, Exception):
        found.missing.append(f"judge: {first_cause(judge)}")
    said = set()
    for split in SPLITS[command]:
        try:
            prompts = data.prompts(split)
            if judge is not None and not isinstance(judge, Exception) and split != "train":
                judge.check(prompts)
        except (ValueError, OSError) as error:
            line = " ".join(str(error).split())
            found.missing.extend([] if line in said else [line])
            said.add(line)
            continue
        texts = [prompt.text for prompt in prompts]
        tags = len({prompt.tag for prompt in prompts})
        found.say(
            f"prompts, {split}",
            f"{len(texts):,}, {len(set(texts)):,} of them different, {tags} tag{'s' if tags != 1 else ''}",
        )
        for text in texts[:SHOWN] if split == SPLITS[command][0] else []:
            found.say("", f'"{text}"')


def _made(key: str, config: Mapping[str, Any]) -> Any:
    """Data or judge of a configuration; None if there is none, the error if it cannot be made."""
    from jsonargparse import ArgumentParser

    from hypernoise_pl.data.base import PromptDataModule
    from hypernoise_pl.metrics.judge import Judge

    if config.get(key) is None:
        return None
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments({"data": PromptDataModule, "judge": Judge}[key], key)  # type: ignore[arg-type]
    try:
        return parser.instantiate_classes(parser.parse_object({key: config[key]}))[key]
    except Exception as error:
        return error


def _work(command: str, config: Mapping[str, Any], found: Found) -> None:
    model, trainer = config["model"]["init_args"], config.get("trainer") or {}
    batch = (config["data"].get("init_args") or {}).get("batch_size")
    steps = trainer.get("max_steps")
    if command == "fit" and batch and isinstance(steps, int) and steps > 0:
        accumulated, devices = trainer.get("accumulate_grad_batches") or 1, trainer.get("devices")
        several = devices if isinstance(devices, int) and devices > 0 else 1
        step = batch * accumulated * several
        found.say("training", f"{steps:,} steps of {step} prompts: {steps * step:,} images")
        found.say("", f"at validation and test {model.get('images_per_prompt')} noises a prompt, base and refined")
    if command == "compare":
        comparison = config["compare"]
        rows = sum(len(method.get("budgets") or [None]) for method in comparison["methods"])
        prompts = comparison.get("prompts") or "all"
        found.say("comparison", f"{rows} rows, {prompts} prompts x {comparison['seeds']} noises")
        if importlib.util.find_spec("pyarrow") is None:
            found.missing.append("package pyarrow: pip install 'hypernoise_pl[search]' has it")


def _writes(command: str, config: Mapping[str, Any], options: Options, found: Found) -> None:
    if command == "cache-prompts":
        found.say("writes", f"encoded prompts into {config['model']['init_args']['prompt_cache']}")
        return
    folder = options.output or Path("runs", kind_of_run(command, str(config.get("output") or "")), "<time>")
    files = {
        "fit": "config.yaml, checkpoints/last.ckpt, adapter/, images/, live.html, history.jsonl, summary.json and the "
        "logger's files",
        "compare": "report.html, report.md, summary.json, results.parquet, images/",
    }
    found.say("writes", f"{folder}: {files[command]}")


def lines(found: Found) -> Iterator[str]:
    """What is said of a dry run, aligned."""
    width = max((len(name) for name, _ in found.lines), default=0)
    yield from (f"{name:<{width}}  {text}" for name, text in found.lines)


def _size(count: int, size: int) -> str:
    return f"{count:,} parameters, {_bytes(size)}"


def _bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} GiB"
