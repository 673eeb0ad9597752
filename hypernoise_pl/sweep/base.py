"""What every trial of a sweep starts from, and that each of its values can stand where it is set."""

from __future__ import annotations

import re
from typing import Any

from hypernoise_pl.cli.build import full_config
from hypernoise_pl.cli.command_config import check_flag, key_types_of, merge_command
from hypernoise_pl.config.flags import merge_flag
from hypernoise_pl.config.options import Options
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.sweep.definition import Definition
from hypernoise_pl.sweep.space import as_flags, text
from hypernoise_pl.types import did_you_mean

SEEDS = ("seed_everything", "model.noise.seed", "data.seed")  # what a trial's seed sets
_TAGS = re.compile(r"validation/(base|hypernetwork)/(judge|missing)/.+|train/.+")  # named by prompts, or by the loss


def base_of(definition: Definition) -> dict[str, Any]:
    """The configuration that every trial changes.

    Raises:
        ConfigError: naming the file or the key that is wrong.
    """
    for name in definition.set:
        check_flag("fit", name)
    return merge_command("fit", Options(config=list(definition.config)), as_flags(definition.set)).config


def check(definition: Definition, base: dict[str, Any]) -> dict[str, Any]:
    """Check every name and value that any trial may set, and every figure that is wanted.

    Returns:
        The base with every default filled in.

    Raises:
        ConfigError: naming the first that is wrong, and the nearest that is right.
    """
    key_types = key_types_of("fit")
    for each in definition.dimensions:
        ends: list[Any] = [each.low, each.high] if each.settings is None else list(each.settings)
        for value in ends:
            merged = base
            for name, setting in each.flags(value).items():
                check_flag("fit", name)
                merged = merge_flag(merged, name, text(setting), key_types)
            try:
                full_config("fit", merged)
            except ConfigError as error:
                raise ConfigError(f"{each.name} = {text(value)}: {error}") from None
    full = full_config("fit", base)
    _check_figures(definition, full)
    _check_validation(full["trainer"])
    return full


def seed_flags(base: dict[str, Any], seed: int) -> dict[str, Any]:
    """What a fit of this seed sets: of ``SEEDS`` those that its classes have."""
    found, key_types = {}, key_types_of("fit")
    for name in SEEDS:
        try:
            merge_flag(base, name, str(seed), key_types)
        except ConfigError:
            continue
        found[name] = seed
    return found


def steps_of(full: dict[str, Any]) -> int | None:
    """Optimiser steps of a fit; None where epochs decide."""
    steps = full["trainer"]["max_steps"]
    return int(steps) if steps > 0 else None


def devices_of(full: dict[str, Any]) -> int:
    """Devices of a fit; 1 where its Trainer takes what there is."""
    devices = full["trainer"]["devices"]
    if isinstance(devices, list):
        return len(devices)
    return int(devices) if str(devices).isdigit() and int(devices) > 0 else 1


def _check_figures(definition: Definition, full: dict[str, Any]) -> None:
    """Raise for a figure that no validation logs."""
    known = ["validation/win_rate", *(["validation/gain"] if full.get("judge") is not None else [])]
    for method in ("base", "hypernetwork"):
        rewards = [*full["model"]["init_args"]["rewards"], "weighted"]
        known += [f"validation/{method}/{name}" for name in ("diversity", *(f"reward/{each}" for each in rewards))]
    for figure in definition.figures:
        if figure not in known and not _TAGS.fullmatch(figure) and not figure.startswith("noise/"):
            why = did_you_mean(figure, known) or f"; there are {', '.join(known)}"
            raise ConfigError(f"objectives: no validation logs {figure!r}{why}")


def _check_validation(trainer: dict[str, Any]) -> None:
    if trainer.get("limit_val_batches") == 0:
        raise ConfigError("trainer.limit_val_batches: 0, and the objective is measured at validation; leave it out")
    if trainer.get("fast_dev_run"):
        raise ConfigError("trainer.fast_dev_run: keeps nothing, so that a sweep has nothing to go by; leave it out")
    every, steps, parts = (trainer.get(name) for name in ("val_check_interval", "max_steps", "accumulate_grad_batches"))
    if isinstance(every, int) and isinstance(steps, int) and steps > 0:
        batches = steps * (parts or 1)
        if every > batches:
            raise ConfigError(
                f"trainer.val_check_interval: {every} batches, and a fit has {batches}; none would validate"
            )
        if batches % every:
            raise ConfigError(
                f"trainer.val_check_interval: {every} does not divide the {batches} batches of a fit, so that its end "
                "would not be validated, and the objective is of the last validation"
            )
