"""What a checkpoint says of the run that made it, and what counts when a run with other settings goes on from it.

From the checkpoint come the weights, the state of optimiser and schedule, the step, the random state and the place in
the stream of prompts. From the configuration comes everything else. An adapter of another form or of another
generator, another optimiser class and another schedule class cannot go on from that state.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import lightning as L
from torch.optim import Optimizer

_BEGIN_ANEW = "or leave --ckpt_path out to begin anew"
_PROGRESS = ("optimizer", "last_epoch")  # arguments of schedules that are no settings


def check_same(saved: Mapping[str, Any], own: Mapping[str, Any], flags: Mapping[str, str]) -> None:
    """Refuse a checkpoint whose state cannot go on here.

    Args:
        saved: name -> value of what must be the same, in the checkpoint.
        own: the same names in this run.
        flags: name -> the flag that sets it; empty where there is none.

    Raises:
        ValueError: for the first that differs.
    """
    for name, value in own.items():
        if saved.get(name) != value:
            flag = flags.get(name)
            do = f"pass --{flag}={_format(saved.get(name))}" if flag else "give it what the checkpoint was made with"
            raise ValueError(
                f"the checkpoint cannot be continued: its {name} is {_format(saved.get(name))}, this run's is "
                f"{_format(value)}; {do}, {_BEGIN_ANEW}"
            )


def differences(saved: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """Settings of this run that are not the checkpoint's, as ``name VALUE (checkpoint: VALUE)``; empty if none."""
    names = [name for name in {**saved, **own} if saved.get(name) != own.get(name)]
    return ", ".join(f"{name} {_format(own.get(name))} (checkpoint: {_format(saved.get(name))})" for name in names)


def optimizer_settings(optimizer: Optimizer) -> dict[str, Any]:
    """Numbers of an optimiser, the rate as it is before any schedule."""
    group = optimizer.param_groups[0]
    found = {name: _plain(value) for name, value in group.items() if name not in ("params", "initial_lr")}
    return found | {"lr": _plain(group.get("initial_lr", group["lr"]))}


def schedule_settings(schedule: Any) -> dict[str, Any]:
    """Arguments of a schedule, as far as it keeps them."""
    names = inspect.signature(type(schedule).__init__).parameters
    kept = {name: getattr(schedule, name) for name in names if name not in _PROGRESS and hasattr(schedule, name)}
    return {name: _plain(value) for name, value in kept.items() if isinstance(value, (bool, int, float, str))}


def apply_settings(
    optimizer: Optimizer, schedule: Any, numbers: Mapping[str, Any], arguments: Mapping[str, Any]
) -> None:
    """Give a restored optimiser and its schedule the settings of this run.

    The rate keeps the share of the full one that the schedule had come to.

    Args:
        optimizer: with the state of a checkpoint.
        schedule: of it, likewise; None if there is none.
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
    """Let a checkpoint's loops go on with the first batch of an epoch: the stream knows its place, and has no epochs.

    Args:
        loops: Lightning's state of them, changed in place.
    """
    progress = loops["fit_loop"]["epoch_loop.batch_progress"]
    total, current = progress["total"], progress["current"]
    # Lightning counts a batch as completed after the hook in which checkpoints are saved, and makes up for that
    done = current["completed"] + int(total["completed"] == total["processed"] - 1)
    progress["current"] = {name: count - done for name, count in current.items()}
    progress["is_last_batch"] = False


def batches_done(loops: Mapping[str, Any]) -> int:
    """Batches of the current epoch that a checkpoint's loops have seen."""
    return int(loops["fit_loop"]["epoch_loop.batch_progress"]["current"]["ready"])


def class_name(thing: Any) -> str | None:
    """Where a thing's class can be imported from; None for nothing."""
    return None if thing is None else f"{type(thing).__module__}.{type(thing).__qualname__}"


def stream_settings(trainer: L.Trainer) -> dict[str, Any]:
    """How many prompts make a batch of all processes together, and how many batches a step."""
    batch_size = getattr(trainer.datamodule, "batch_size", 0)  # type: ignore[attr-defined]
    return {
        "data.batch_size times processes": batch_size * trainer.world_size,
        "trainer.accumulate_grad_batches": trainer.accumulate_grad_batches,
    }


def _plain(value: Any) -> Any:
    """A value as a checkpoint keeps it."""
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _format(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
