"""A configuration as dotted names and values, as flags have them; and those by which runs are sorted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# beginnings of the names by which two runs of one task differ
_TELLING = (
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
    """Dotted names, as flags have them, and values."""
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from leaves(part, name if key == "init_args" else f"{name}.{key}".lstrip("."))
    elif isinstance(value, list) and any(isinstance(part, (Mapping, list)) for part in value):
        for place, part in enumerate(value):
            yield from leaves(part, f"{name}.{place}")
    else:
        yield name, value


def hyper_parameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """What decides a training, by the names of flags: numbers, texts and switches that are on.

    What is null or off is left out. A class stands under the name of its place: ``model.optimizer`` is ``AdamW``.

    Args:
        config: resolved.
    """
    found: dict[str, Any] = {}
    for name, value in leaves(config):
        if value is None or value is False or not name.startswith(_TELLING):
            continue
        if name.endswith(".class_path"):
            name, value = name.removesuffix(".class_path"), str(value).rpartition(".")[2]
        found[name] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return found
