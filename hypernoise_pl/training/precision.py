"""Which precisions train right: gradients must survive the frozen parts that they pass through."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import lightning as L
import torch
from torch import nn

SUPPORTED = ("32-true", "bf16-mixed", "16-mixed")


def check_trainer(trainer: L.Trainer) -> None:
    """Check that the Trainer leaves weights in their own precision.

    Raises:
        ValueError: if it converts them, the trained ones too.
    """
    if trainer.precision not in SUPPORTED:
        raise ValueError(
            f"trainer.precision {trainer.precision} converts all weights, those that are trained too; use 32-true or "
            "bf16-mixed, and let the frozen weights have the generator's dtype (float32 or bfloat16)"
        )


def check_precision(
    trainer: L.Trainer, trained: Iterable[nn.Parameter], frozen: Mapping[str, Sequence[nn.Module]]
) -> None:
    """Check the Trainer's precision against what trains and what is frozen.

    Args:
        trainer: whose precision it is.
        trained: weights.
        frozen: name of the option that sets a precision -> the modules that have it and let gradients through.

    Raises:
        ValueError: if trained weights are in half precision, if gradients pass through float16 without loss scaling,
            or if autocast would compute in float16 what is kept in bfloat16.
    """
    asked = f"trainer.precision {trainer.precision}"
    if any(weight.dtype in (torch.bfloat16, torch.float16) for weight in trained):
        raise ValueError(
            "the weights that are trained are in half precision, which rounds small updates away; use float32"
        )
    scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
    for option, modules in frozen.items():
        found = {weight.dtype for module in modules for weight in module.parameters()}
        if torch.float16 in found and not scaled:
            raise ValueError(
                f"{option} float16 with {asked}: without loss scaling, small gradients become zero in float16; use "
                "bfloat16 or float32 (or, on a GPU, trainer.precision 16-mixed)"
            )
        if torch.bfloat16 in found and trainer.precision == "16-mixed":
            raise ValueError(
                f"{option} bfloat16 with {asked}: float16 does not hold the range of bfloat16; use trainer.precision "
                "bf16-mixed"
            )
