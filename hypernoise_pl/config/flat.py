"""A configuration as dotted names and values; hyperparameters and differences of runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

SHOWN = 6  # differences that are written out
_ABSENT = "not there"
# beginnings of the names of hyperparameters
_HYPERPARAMETERS = (
    "model.class_path",
    "model.generator.class_path",
    "model.adapter.class_path",
    "model.adapter.lora.",
    "model.adapter.mode",
    "model.objective.",
    "model.noise.",
    "model.whiten_gradient",
    "model.reward_weights.",
    "model.steps",
    "model.optimizer.",
    "model.lr_scheduler.",
    "data.class_path",
    "data.batch_size",
    "trainer.max_steps",
    "trainer.accumulate_grad_batches",
    "trainer.gradient_clip_val",
    "trainer.precision",
    "trainer.devices",
    "seed_everything",
)


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names, as flags have them, and their values."""
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from leaves(part, name if key == "init_args" else f"{name}.{key}".lstrip("."))
    elif isinstance(value, list) and any(isinstance(part, (Mapping, list)) for part in value):
        for index, part in enumerate(value):
            yield from leaves(part, f"{name}.{index}")
    else:
        yield name, value


def hyper_parameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters of a training, under the names of flags: numbers, texts and switches that are on.

    Values that are null or off are left out. A class has the name of its argument: ``model.optimizer`` is ``AdamW``.

    Args:
        config: resolved configuration.
    """
    hyper: dict[str, Any] = {}
    for name, value in leaves(config):
        if value is None or value is False or not name.startswith(_HYPERPARAMETERS):
            continue
        if name.endswith(".class_path"):
            name, value = name.removesuffix(".class_path"), str(value).rpartition(".")[2]
        hyper[name] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return hyper


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The differences of two configurations, such as ``trainer.max_steps 1200 (was 800)``; empty without any."""
    old, new = dict(leaves(before)), dict(leaves(after))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name) and name != "output"]
    shown = [f"{name} {new.get(name, _ABSENT)} (was {old.get(name, _ABSENT)})" for name in names[:SHOWN]]
    more = [f"{len(names) - SHOWN} more"] if len(names) > SHOWN else []
    return ", ".join(shown + more)
