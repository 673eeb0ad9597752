"""How long a training step takes, as earlier runs have measured it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hypernoise_pl.config.merge import read_config
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.system.files import RUNS

SECONDS, DEVICE = "seconds_per_step", "device"  # of the entry ``fit`` of summary.json
FREE = ("reward_weights", "objective", "reference", "images_per_prompt", "seed", "lr_scheduler", "max_bad_steps")
_MOST = torch.get_num_threads()  # before a run has them follow the load
OF_TRAINER = ("precision", "accumulate_grad_batches", "devices", "num_nodes", "strategy")


def known_rate(config: Mapping[str, Any], runs: Path = RUNS, device: str | None = None) -> tuple[float, Path] | None:
    """Seconds of a training step by the newest fit that did the same work in a step, and its folder; None if none did.

    The same work is the same model but for what costs no time (``FREE``, the optimiser's arguments), batch size,
    precision, accumulation, processes, strategy and kind of device.

    Args:
        config: resolved, every default filled in, as a run's ``config.yaml`` is.
        runs: folder that has the fits in ``fit/``.
        device: kind of device; None for the one that the configuration takes on this machine.
    """
    wanted, device = _work(config), device or kind_of_device(device_of(config))
    files = sorted(runs.glob("fit/*/summary.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in files:
        try:
            fit = json.loads(file.read_text())["fit"] or {}
            if fit.get(DEVICE) != device or not fit.get(SECONDS):
                continue
            if _work(read_config(file.parent / "config.yaml")) == wanted:
                return float(fit[SECONDS]), file.parent
        except (OSError, ValueError, ConfigError, KeyError, TypeError, AttributeError):
            continue  # of something else, or of an older version
    return None


def device_of(config: Mapping[str, Any]) -> torch.device:
    """The device that a configuration's Trainer takes on this machine."""
    accelerator = str((config.get("trainer") or {}).get("accelerator") or "auto")
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", 0)
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def kind_of_device(device: torch.device) -> str:
    """A device in words, with what decides its speed: a GPU's model, a CPU's threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({_MOST} thread{'s' if _MOST > 1 else ''})" if device.type == "cpu" else str(device.type)


def _work(config: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the time of a step."""
    model, trainer = config["model"]["init_args"], config["trainer"]
    deciding = {key: value for key, value in model.items() if key not in FREE}
    deciding["rewards"] = {name: reward for name, reward in model["rewards"].items() if reward is not None}
    deciding["optimizer"] = (model.get("optimizer") or {}).get("class_path")
    deciding["prompt_cache"] = model.get("prompt_cache") is not None
    return {
        "class": config["model"]["class_path"],
        "model": deciding,
        "batch_size": config["data"]["init_args"]["batch_size"],
        "trainer": {key: trainer.get(key) for key in OF_TRAINER},
    }
