"""Settings in a checkpoint, compared with those of a run that resumes from it.

The weights, the state of optimiser and schedule, the step, the random state and the position in the prompt stream come
from the checkpoint. All other settings come from the configuration. A run cannot resume with another adapter,
generator, optimiser class or schedule class.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import lightning as L
from torch.optim import Optimizer

_START_ANEW = "or leave --ckpt_path out to start anew"
_PROGRESS = ("optimizer", "last_epoch")  # arguments of schedules that are not settings


def check_same(saved: Mapping[str, Any], own: Mapping[str, Any], flags: Mapping[str, str]) -> None:
    """Check that a checkpoint and this run agree on the settings that must stay.

    Args:
        saved: settings in the checkpoint, name -> value.
        own: settings of this run, name -> value.
        flags: name -> flag that sets it; names without a flag are left out.

    Raises:
        ValueError: if a setting differs; the message names the first one.
    """
    for name, value in own.items():
        if saved.get(name) != value:
            flag = flags.get(name)
            remedy = f"pass --{flag}={_format(saved.get(name))}" if flag else "restore the checkpoint's value"
            raise ValueError(
                f"the checkpoint cannot be resumed: its {name} is {_format(saved.get(name))}, this run's is "
                f"{_format(value)}; {remedy}, {_START_ANEW}"
            )


def differences(saved: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """The settings that differ from the checkpoint's, as ``name VALUE (checkpoint: VALUE)``; empty if none."""
    names = [name for name in {**saved, **own} if saved.get(name) != own.get(name)]
    return ", ".join(f"{name} {_format(own.get(name))} (checkpoint: {_format(saved.get(name))})" for name in names)


def optimizer_settings(optimizer: Optimizer) -> dict[str, Any]:
    """The settings of an optimiser, with the learning rate before any schedule."""
    group = optimizer.param_groups[0]
    settings = {name: _plain(value) for name, value in group.items() if name not in ("params", "initial_lr")}
    return settings | {"lr": _plain(group.get("initial_lr", group["lr"]))}


def schedule_settings(schedule: Any) -> dict[str, Any]:
    """The arguments of a schedule that it keeps as attributes."""
    names = inspect.signature(type(schedule).__init__).parameters
    kept = {name: getattr(schedule, name) for name in names if name not in _PROGRESS and hasattr(schedule, name)}
    return {name: _plain(value) for name, value in kept.items() if isinstance(value, (bool, int, float, str))}


def apply_settings(
    optimizer: Optimizer, schedule: Any, numbers: Mapping[str, Any], arguments: Mapping[str, Any]
) -> None:
    """Give a restored optimiser and its schedule the settings of this run.

    The ratio of the current learning rate to the full one, which the schedule has reached, stays.

    Args:
        optimizer: optimiser with the state of a checkpoint.
        schedule: its schedule with the state of a checkpoint; None if there is none.
        numbers: ``optimizer_settings`` of this run.
        arguments: ``schedule_settings`` of this run.
    """
    for group in optimizer.param_groups:
        share = numbers["lr"] / (group.get("initial_lr") or group["lr"] or numbers["lr"] or 1.0)
        rate = group["lr"] * share if schedule is not None else numbers["lr"]
        group.update({name: value for name, value in numbers.items() if name in group}, lr=rate)
        if "initial_lr" in group:
            group["initial_lr"] = numbers["lr"]
    if schedule is not None:
        vars(schedule).update(arguments)
        if hasattr(schedule, "base_lrs"):
            schedule.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]


def restart_epoch(loops: dict[str, Any]) -> None:
    """Set a checkpoint's loops to the first batch of an epoch; the prompt stream keeps its own position.

    Args:
        loops: Lightning's loop state; changed in place.
    """
    progress = loops["fit_loop"]["epoch_loop.batch_progress"]
    total, current = progress["total"], progress["current"]
    # Lightning counts a batch as completed only after the hook that saves checkpoints, and corrects that on loading
    done = current["completed"] + int(total["completed"] == total["processed"] - 1)
    progress["current"] = {name: count - done for name, count in current.items()}
    progress["is_last_batch"] = False


def batches_done(loops: Mapping[str, Any]) -> int:
    """The number of batches of the current epoch in a checkpoint's loops."""
    return int(loops["fit_loop"]["epoch_loop.batch_progress"]["current"]["ready"])


def class_name(instance: Any) -> str | None:
    """The import path of an instance's class; None for None."""
    return None if instance is None else f"{type(instance).__module__}.{type(instance).__qualname__}"


def stream_settings(trainer: L.Trainer) -> dict[str, Any]:
    """The number of prompts in a batch over all processes, and of batches in an optimiser step."""
    batch_size = getattr(trainer.datamodule, "batch_size", 0)  # type: ignore[attr-defined]
    return {
        "data.batch_size times processes": batch_size * trainer.world_size,
        "trainer.accumulate_grad_batches": trainer.accumulate_grad_batches,
    }


def _plain(value: Any) -> Any:
    """The value in types that ``torch.load`` reads with ``weights_only``."""
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _format(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
