"""``--dry-run``: look at everything that a command reads, and report all that is missing; nothing is made."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hypernoise_pl.callbacks.progress import MEASURED, WARM_UP, spoken
from hypernoise_pl.checkpoints.loading import check_model_name
from hypernoise_pl.cli.dry_run_models import look_at_generator, look_at_parts, look_at_reward, parts_with_models
from hypernoise_pl.cli.dry_run_report import Findings, missing_lines
from hypernoise_pl.cli.errors import causes, first_cause
from hypernoise_pl.cli.instantiate import instantiate
from hypernoise_pl.config.options import Options
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.data.base import PromptDataModule
from hypernoise_pl.metrics.judge import Judge, unjudged_message
from hypernoise_pl.runs.step_time import device_name, device_of, known_step_time
from hypernoise_pl.system.files import kind_of_run

SPLITS = {
    "fit": ("train", "validation", "test"),
    "compare": ("test",),
    "cache-prompts": ("train", "validation", "test"),
}
SHOWN = 3  # prompts that are shown


def dry_run(command: str, config: Mapping[str, Any], options: Options) -> Findings:
    """Look at everything that a command would read.

    Args:
        command: fit, compare or cache-prompts.
        config: resolved configuration with every default filled in.
        options: flags of the command.

    Returns:
        Lines to print, and errors.
    """
    findings = Findings()
    model = config["model"]["init_args"]
    look_at_generator(command, config, findings)
    if command != "cache-prompts":
        for name, reward in (model.get("rewards") or {}).items():
            look_at_reward(name, reward, findings)
        for key, part in _measuring(config).items():
            look_at_parts(key, part, findings)
        _look_at_metadata(config, findings)
    _prompts(command, config, findings)
    _work(command, config, findings)
    _writes(command, config, options, findings)
    return findings


def check_files(command: str, config: Mapping[str, Any]) -> None:
    """Check, before any model is loaded, that folders of models and files of prompts are there.

    Args:
        command: fit, compare or cache-prompts.
        config: resolved configuration with every default filled in.

    Raises:
        ConfigError: with everything that is missing.
    """
    model = config["model"]["init_args"]
    parts = {"generator": model["generator"]}
    if command != "cache-prompts":
        parts |= {f"reward {name}": reward for name, reward in (model.get("rewards") or {}).items() if reward}
        for key, part in _measuring(config).items():
            parts |= dict(parts_with_models(key, part))
    missing = []
    for name, part in parts.items():
        try:
            check_model_name(str((part.get("init_args") or {}).get("model", "a/b")), name)
        except OSError as error:
            missing.append(str(error))
    findings, hidden = Findings(), io.StringIO()
    with contextlib.redirect_stdout(hidden), contextlib.redirect_stderr(hidden):  # the run prints it again
        _prompts(command, config, findings, judged=False)
    if command != "cache-prompts":
        _look_at_metadata(config, findings)
    if missing + findings.missing:
        raise ConfigError(missing_lines(missing + findings.missing))


def _measuring(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Key -> configuration of the judge and of each benchmark that a callback runs."""
    judge = {"judge": config["judge"]} if config.get("judge") else {}
    return judge | {f"benchmark {arguments.get('name')}": arguments["benchmark"] for arguments in _benchmarks(config)}


def _benchmarks(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Arguments of every ``RunBenchmark`` among the callbacks."""
    callbacks = (config.get("trainer") or {}).get("callbacks") or []
    names = [str(callback.get("class_path")).rpartition(".")[2] for callback in callbacks]
    arguments = [callback.get("init_args") or {} for callback, name in zip(callbacks, names) if name == "RunBenchmark"]
    return [each for each in arguments if each.get("benchmark")]


def _look_at_metadata(config: Mapping[str, Any], findings: Findings) -> None:
    for arguments in _benchmarks(config):
        if (file := arguments.get("metadata")) and not Path(file).exists():
            findings.missing.append(
                f"benchmark {arguments.get('name')}: {file}: no such file; metadata is its file of prompts"
            )


def _prompts(command: str, config: Mapping[str, Any], findings: Findings, judged: bool = True) -> None:
    data = _instantiate("data", config)
    if isinstance(data, Exception):
        findings.missing.extend(causes(data))
        return
    judge = _judge(command, config, findings) if judged else None
    printed: set[str] = set()
    for split in SPLITS[command]:
        try:
            prompts = data.prompts(split)
            if judge is not None and split == "validation":
                if lacks := [lack for prompt in prompts if (lack := judge.missing_metadata(prompt)) is not None]:
                    findings.add("judge", f"validations are not judged: {unjudged_message(lacks, len(prompts))}")
            elif judge is not None and split == "test":
                judge.check(prompts)
        except (ValueError, OSError) as error:
            new = [line for line in causes(error) if line not in printed]
            findings.missing.extend(new)
            printed.update(new)
            continue
        if not prompts:
            findings.missing.append(f"data: no {split} prompts; give at least one")
            continue
        if split == "train":
            _fills_a_batch(config, len(prompts), findings)
        texts = [prompt.text for prompt in prompts]
        tags = len({prompt.tag for prompt in prompts})
        findings.add(
            f"prompts, {split}",
            f"{len(texts):,}, {len(set(texts)):,} of them different, {tags} tag{'s' if tags != 1 else ''}",
        )
        for text in texts[:SHOWN] if split == SPLITS[command][0] else []:
            findings.add("", f'"{text}"')


def _judge(command: str, config: Mapping[str, Any], findings: Findings) -> Any:
    """The judge, if it has no models; one with models checks prompts once the command has loaded it."""
    described = config.get("judge")
    if not described or command == "cache-prompts" or [*parts_with_models("judge", described)]:
        return None
    judge = _instantiate("judge", config)
    if isinstance(judge, Exception):
        findings.missing.append(f"judge: {first_cause(judge)}")
        return None
    return judge


def _fills_a_batch(config: Mapping[str, Any], count: int, findings: Findings) -> None:
    """Check that the training prompts fill one batch of all processes."""
    batch, devices = (config["data"].get("init_args") or {}).get("batch_size"), _devices(config)
    if isinstance(batch, int) and count < batch * devices:
        findings.missing.append(
            f"data: {count:,} training prompts do not fill one batch of {batch:,} on {devices} process(es); lower "
            "data.batch_size or add prompts"
        )


def _devices(config: Mapping[str, Any]) -> int:
    devices = (config.get("trainer") or {}).get("devices")
    return devices if isinstance(devices, int) and devices > 0 else 1


def _instantiate(key: str, config: Mapping[str, Any]) -> Any:
    """Data or judge of a configuration; the error if it cannot be built, None if there is none."""
    if config.get(key) is None:
        return None
    cls: Any = {"data": PromptDataModule, "judge": Judge}[key]
    try:
        return instantiate(cls, config[key], key)
    except Exception as error:
        return error


def _work(command: str, config: Mapping[str, Any], findings: Findings) -> None:
    model, trainer = config["model"]["init_args"], config.get("trainer") or {}
    batch = (config["data"].get("init_args") or {}).get("batch_size")
    steps = trainer.get("max_steps")
    if command == "fit" and isinstance(steps, int) and steps < -1:
        findings.missing.append(f"trainer.max_steps {steps}: give at least 1, or -1 for no end")
    if command != "cache-prompts" and trainer.get("accelerator") in ("gpu", "cuda") and not torch.cuda.is_available():
        findings.add(
            "device", f"trainer.accelerator={trainer['accelerator']}: this machine has no GPU; cpu or auto runs here"
        )
    if command == "fit" and batch and isinstance(steps, int) and steps > 0:
        step = batch * (trainer.get("accumulate_grad_batches") or 1) * _devices(config)
        findings.add("training", f"{steps:,} steps of {step} prompts: {steps * step:,} images")
        findings.add("", f"at validation and test {model.get('images_per_prompt')} noises a prompt, base and refined")
        findings.add("time", _time(config, steps))
    if command == "compare":
        comparison = config["compare"]
        rows = sum(len(method.get("budgets") or [None]) for method in comparison["methods"])
        prompts = comparison.get("prompts") or "all"
        findings.add("comparison", f"{rows} rows, {prompts} prompts x {comparison['seeds']} noises")
        if importlib.util.find_spec("pyarrow") is None:
            findings.missing.append("package pyarrow: pip install 'hypernoise_pl[compare]' has it")


def _time(config: Mapping[str, Any], steps: int) -> str:
    """Duration of the training in words, as an earlier run of the same work measured its steps."""
    device = device_name(device_of(config))
    known = known_step_time(config)
    if known is None:
        return (
            f"not known: no run in runs/fit has measured such steps on {device}; fit says it after its first "
            f"{WARM_UP + MEASURED} steps"
        )
    seconds, run = known
    return f"{spoken(seconds * steps)} of training: {seconds:.3g} s a step, measured by {run} on {device}"


def _writes(command: str, config: Mapping[str, Any], options: Options, findings: Findings) -> None:
    if command == "cache-prompts":
        findings.add("writes", f"encoded prompts into {config['model']['init_args']['prompt_cache']}")
        return
    folder = options.output or Path("runs", kind_of_run(command, str(config.get("output") or "")), "<time>")
    files = {
        "fit": "config.yaml, checkpoints/last.ckpt, adapter/, images/, live.html, history.jsonl, summary.json and the "
        "logger's files",
        "compare": "report.html, report.md, summary.json, results.parquet, images/",
    }
    findings.add("writes", f"{folder}: {files[command]}")
