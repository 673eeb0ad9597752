"""The configuration that all trials of a sweep share, and the checks of a definition against it."""

from __future__ import annotations

import re
from typing import Any

from hypernoise_pl.cli.build import full_config
from hypernoise_pl.cli.command_config import check_flag, key_types_of, merge_command
from hypernoise_pl.config.flags import merge_flag
from hypernoise_pl.config.options import Options
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.sweep.definition import Definition
from hypernoise_pl.sweep.values import as_flags, format_value
from hypernoise_pl.types import did_you_mean

SEEDS = ("seed_everything", "model.noise.seed", "data.seed")  # keys that the seed of a fit sets
_TAGS = re.compile(
    r"validation/(base|hypernetwork)/(judge|unscored)/.+|train/.+"
)  # their names depend on the prompts or the loss


def base_config(definition: Definition) -> dict[str, Any]:
    """The configuration that all trials share.

    Raises:
        ConfigError: if a file or key is wrong.
    """
    for name in definition.set:
        check_flag("fit", name)
    return merge_command("fit", Options(config=list(definition.config)), as_flags(definition.set)).config


def check_definition(definition: Definition, base: dict[str, Any]) -> dict[str, Any]:
    """Check every name and value that a trial may set, and every figure that the sweep reads.

    Args:
        definition: definition of the sweep.
        base: configuration that all trials share.

    Returns:
        The base configuration with all defaults.

    Raises:
        ConfigError: if a name or value is wrong; the message suggests the nearest right one.
    """
    key_types = key_types_of("fit")
    for dimension in definition.dimensions:
        listed = dimension.settings
        values: list[Any] = [dimension.low, dimension.high] if listed is None else list(listed)
        for value in values:
            merged = base
            for name, setting in dimension.flags(value).items():
                check_flag("fit", name)
                merged = merge_flag(merged, name, format_value(setting), key_types)
            try:
                full_config("fit", merged)
            except ConfigError as error:
                raise ConfigError(f"{dimension.name} = {format_value(value)}: {error}") from None
    full = full_config("fit", base)
    _check_figures(definition, full)
    _check_validation(full["trainer"])
    return full


def seed_settings(base: dict[str, Any], seed: int) -> dict[str, Any]:
    """The keys of ``SEEDS`` that the configured classes have, with the seed as value."""
    settings, key_types = {}, key_types_of("fit")
    for name in SEEDS:
        try:
            merge_flag(base, name, str(seed), key_types)
        except ConfigError:
            continue
        settings[name] = seed
    return settings


def fit_steps(full: dict[str, Any]) -> int | None:
    """Optimiser steps of a fit; None if epochs limit it."""
    steps = full["trainer"]["max_steps"]
    return int(steps) if steps > 0 else None


def fit_devices(full: dict[str, Any]) -> int:
    """Number of devices of a fit; 1 if its Trainer chooses."""
    devices = full["trainer"]["devices"]
    if isinstance(devices, list):
        return len(devices)
    return int(devices) if str(devices).isdigit() and int(devices) > 0 else 1


def _check_figures(definition: Definition, full: dict[str, Any]) -> None:
    """Raise ``ConfigError`` for a figure that no validation logs."""
    known = ["validation/win_rate", *(["validation/gain"] if full.get("judge") is not None else [])]
    for method in ("base", "hypernetwork"):
        rewards = [*full["model"]["init_args"]["rewards"], "weighted"]
        known += [f"validation/{method}/{name}" for name in ("diversity", *(f"reward/{reward}" for reward in rewards))]
    for figure in definition.figures:
        if figure not in known and not _TAGS.fullmatch(figure) and not figure.startswith("noise/"):
            hint = did_you_mean(figure, known) or f"; there are {', '.join(known)}"
            raise ConfigError(f"objectives: no validation logs {figure!r}{hint}")


def _check_validation(trainer: dict[str, Any]) -> None:
    if trainer.get("limit_val_batches") == 0:
        raise ConfigError("trainer.limit_val_batches: 0, but validation measures the objective; remove the key")
    if trainer.get("fast_dev_run"):
        raise ConfigError("trainer.fast_dev_run: saves no figures, and a sweep needs them; remove the key")
    interval, steps, accumulated = (
        trainer.get(name) for name in ("val_check_interval", "max_steps", "accumulate_grad_batches")
    )
    if isinstance(interval, int) and isinstance(steps, int) and steps > 0:
        batches = steps * (accumulated or 1)
        if interval > batches:
            raise ConfigError(
                f"trainer.val_check_interval: {interval} batches, but a fit has {batches}; lower it to validate"
            )
        if batches % interval:
            raise ConfigError(
                f"trainer.val_check_interval: {interval} does not divide the {batches} batches of a fit; the objective "
                "is the figure of the last validation, which must be at the end of the fit"
            )
