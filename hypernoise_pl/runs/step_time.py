"""Seconds of a training step, as earlier runs have measured them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hypernoise_pl.config.loading import read_config
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.system.files import RUNS

SECONDS, DEVICE = "seconds_per_step", "device"  # keys of the entry ``fit`` of summary.json
NO_EFFECT = (
    "reward_weights",
    "objective",
    "reference_search",
    "images_per_prompt",
    "seed",
    "lr_scheduler",
    "max_bad_steps",
)
_THREADS = torch.get_num_threads()  # before a run lets them follow the load
TRAINER_KEYS = ("precision", "accumulate_grad_batches", "devices", "num_nodes", "strategy")


def known_step_time(
    config: Mapping[str, Any], runs: Path = RUNS, device: str | None = None
) -> tuple[float, Path] | None:
    """Find the newest fit whose steps did the same work.

    The same work has the same model, batch size, precision, accumulation, processes, strategy and device name. The
    model's arguments in ``NO_EFFECT``, and those of the optimiser, may differ: they cost no time.

    Args:
        config: resolved configuration with every default filled in, as a run's ``config.yaml`` has it.
        runs: folder with the fits in ``fit/``.
        device: device name; None for the device that the configuration uses on this machine.

    Returns:
        Seconds of its step, and its run folder; None if there is no such fit.
    """
    work, device = _work(config), device or device_name(device_of(config))
    files = sorted(runs.glob("fit/*/summary.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in files:
        try:
            fit = json.loads(file.read_text())["fit"] or {}
            if fit.get(DEVICE) != device or not fit.get(SECONDS):
                continue
            if _work(read_config(file.parent / "config.yaml")) == work:
                return float(fit[SECONDS]), file.parent
        except (OSError, ValueError, ConfigError, KeyError, TypeError, AttributeError):
            continue  # another program's file, or one of an older version
    return None


def device_of(config: Mapping[str, Any]) -> torch.device:
    """The device that a configuration's Trainer uses on this machine."""
    accelerator = str((config.get("trainer") or {}).get("accelerator") or "auto")
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", 0)
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def device_name(device: torch.device) -> str:
    """The name of a device: a GPU's model; for a CPU, its number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({_THREADS} thread{'s' if _THREADS > 1 else ''})" if device.type == "cpu" else str(device.type)


def _work(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a configuration that decides the time of a step."""
    model, trainer = config["model"]["init_args"], config["trainer"]
    arguments = {key: value for key, value in model.items() if key not in NO_EFFECT}
    arguments["rewards"] = {name: reward for name, reward in model["rewards"].items() if reward is not None}
    arguments["optimizer"] = (model.get("optimizer") or {}).get("class_path")
    arguments["prompt_cache"] = model.get("prompt_cache") is not None
    return {
        "class": config["model"]["class_path"],
        "model": arguments,
        "batch_size": config["data"]["init_args"]["batch_size"],
        "trainer": {key: trainer.get(key) for key in TRAINER_KEYS},
    }
