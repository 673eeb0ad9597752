"""``--dry-run``: look at everything that a command will read, and say all that is missing; nothing is made."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from hypernoise_pl.callbacks.progress import MEASURED, WARM_UP, spoken
from hypernoise_pl.checkpoints.loading import check_model_name
from hypernoise_pl.cli.errors import causes, first_cause
from hypernoise_pl.cli.found import Found
from hypernoise_pl.cli.models import look_at_generator, look_at_parts, look_at_reward, parts_with_models
from hypernoise_pl.config.options import Options
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.metrics.judge import unjudged_message
from hypernoise_pl.runs.rates import device_of, kind_of_device, known_rate
from hypernoise_pl.system.files import kind_of_run

SPLITS = {
    "fit": ("train", "validation", "test"),
    "compare": ("test",),
    "cache-prompts": ("train", "validation", "test"),
}
SHOWN = 3  # prompts that are shown


def dry_run(command: str, config: Mapping[str, Any], options: Options) -> Found:
    """Look at all that a command would read.

    Args:
        command: fit, compare or cache-prompts.
        config: resolved and checked, with every default filled in.
        options: of the command.
    """
    found = Found()
    model = config["model"]["init_args"]
    look_at_generator(command, config, found)
    if command != "cache-prompts":
        for name, reward in (model.get("rewards") or {}).items():
            look_at_reward(name, reward, found)
        for key, part in _measuring(config).items():
            look_at_parts(key, part, found)
        _look_at_metadata(config, found)
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
        for key, part in _measuring(config).items():
            told |= dict(parts_with_models(key, part))
    missing = []
    for name, part in told.items():
        try:
            check_model_name(str((part.get("init_args") or {}).get("model", "a/b")), name)
        except OSError as error:
            missing.append(str(error))
    found, nobody = Found(), io.StringIO()
    with contextlib.redirect_stdout(nobody), contextlib.redirect_stderr(nobody):  # the run itself says it once more
        _prompts(command, config, found, judged=False)
    if command != "cache-prompts":
        _look_at_metadata(config, found)
    if missing + found.missing:
        raise ConfigError(in_lines(missing + found.missing))


def _measuring(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Key -> configuration of the judge and of the benchmarks that callbacks run."""
    judge = {"judge": config["judge"]} if config.get("judge") else {}
    return judge | {f"benchmark {told.get('name')}": told["benchmark"] for told in _benchmarks(config)}


def _benchmarks(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Arguments of every ``RunBenchmark`` among the callbacks."""
    callbacks = (config.get("trainer") or {}).get("callbacks") or []
    own = [each for each in callbacks if str(each.get("class_path")).rpartition(".")[2] == "RunBenchmark"]
    return [told for each in own if (told := each.get("init_args") or {}).get("benchmark")]


def _look_at_metadata(config: Mapping[str, Any], found: Found) -> None:
    for told in _benchmarks(config):
        if (file := told.get("metadata")) and not Path(file).exists():
            found.missing.append(f"benchmark {told.get('name')}: {file}: no such file; metadata is its file of prompts")


def in_lines(missing: Sequence[str]) -> str:
    """What is missing: one line alone, more than one below a count."""
    return missing[0] if len(missing) == 1 else "\n  ".join([f"{len(missing)} things are missing or wrong:", *missing])


def _prompts(command: str, config: Mapping[str, Any], found: Found, judged: bool = True) -> None:
    data = _made("data", config)
    if isinstance(data, Exception):
        found.missing.extend(causes(data))
        return
    judge = _judge(command, config, found) if judged else None
    said: set[str] = set()
    for split in SPLITS[command]:
        try:
            prompts = data.prompts(split)
            if judge is not None and split == "validation":
                if lacks := [lack for prompt in prompts if (lack := judge.missing_metadata(prompt)) is not None]:
                    found.say("judge", f"validations are not judged: {unjudged_message(lacks, len(prompts))}")
            elif judge is not None and split == "test":
                judge.check(prompts)
        except (ValueError, OSError) as error:
            told = [line for line in causes(error) if line not in said]
            found.missing.extend(told)
            said.update(told)
            continue
        if not prompts:
            found.missing.append(f"data: no {split} prompts; give at least one")
            continue
        if split == "train":
            _fills_a_batch(config, len(prompts), found)
        texts = [prompt.text for prompt in prompts]
        tags = len({prompt.tag for prompt in prompts})
        found.say(
            f"prompts, {split}",
            f"{len(texts):,}, {len(set(texts)):,} of them different, {tags} tag{'s' if tags != 1 else ''}",
        )
        for text in texts[:SHOWN] if split == SPLITS[command][0] else []:
            found.say("", f'"{text}"')


def _judge(command: str, config: Mapping[str, Any], found: Found) -> Any:
    """The judge, if it is one without models: with them it looks at prompts once the command has loaded it."""
    told = config.get("judge")
    if not told or command == "cache-prompts" or [*parts_with_models("judge", told)]:
        return None
    judge = _made("judge", config)
    if isinstance(judge, Exception):
        found.missing.append(f"judge: {first_cause(judge)}")
        return None
    return judge


def _fills_a_batch(config: Mapping[str, Any], count: int, found: Found) -> None:
    """Check that so many training prompts are a batch of all processes."""
    batch, devices = (config["data"].get("init_args") or {}).get("batch_size"), _devices(config)
    if isinstance(batch, int) and count < batch * devices:
        found.missing.append(
            f"data: {count:,} training prompts do not fill one batch of {batch:,} on {devices} process(es); lower "
            "data.batch_size or add prompts"
        )


def _devices(config: Mapping[str, Any]) -> int:
    devices = (config.get("trainer") or {}).get("devices")
    return devices if isinstance(devices, int) and devices > 0 else 1


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
    if command == "fit" and isinstance(steps, int) and steps < -1:
        found.missing.append(f"trainer.max_steps {steps}: give at least 1, or -1 for no end")
    if command != "cache-prompts" and trainer.get("accelerator") in ("gpu", "cuda") and not torch.cuda.is_available():
        found.say(
            "device", f"trainer.accelerator={trainer['accelerator']}: this machine has no GPU; cpu or auto runs here"
        )
    if command == "fit" and batch and isinstance(steps, int) and steps > 0:
        step = batch * (trainer.get("accumulate_grad_batches") or 1) * _devices(config)
        found.say("training", f"{steps:,} steps of {step} prompts: {steps * step:,} images")
        found.say("", f"at validation and test {model.get('images_per_prompt')} noises a prompt, base and refined")
        found.say("time", _time(config, steps))
    if command == "compare":
        comparison = config["compare"]
        rows = sum(len(method.get("budgets") or [None]) for method in comparison["methods"])
        prompts = comparison.get("prompts") or "all"
        found.say("comparison", f"{rows} rows, {prompts} prompts x {comparison['seeds']} noises")
        if importlib.util.find_spec("pyarrow") is None:
            found.missing.append("package pyarrow: pip install 'hypernoise_pl[search]' has it")


def _time(config: Mapping[str, Any], steps: int) -> str:
    """How long the training takes, if a run that did the same has measured it."""
    device = kind_of_device(device_of(config))
    known = known_rate(config)
    if known is None:
        return (
            f"not known: no run in runs/fit has measured such steps on {device}; fit says it after its first "
            f"{WARM_UP + MEASURED} steps"
        )
    seconds, run = known
    return f"{spoken(seconds * steps)} of training: {seconds:.3g} s a step, measured by {run} on {device}"


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
