"""Checks of the training precision: gradients must not underflow in the frozen parts that they pass through."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import lightning as L
import torch
from torch import nn

SUPPORTED = ("32-true", "bf16-mixed", "16-mixed")


def check_trainer(trainer: L.Trainer) -> None:
    """Check that the Trainer leaves weights in their own dtype.

    Raises:
        ValueError: if its precision converts them.
    """
    if trainer.precision not in SUPPORTED:
        raise ValueError(
            f"trainer.precision {trainer.precision} converts all weights, the trained ones too; use 32-true or "
            "bf16-mixed, and set the dtype of the frozen weights with model.generator.dtype"
        )


def check_precision(
    trainer: L.Trainer, trained: Iterable[nn.Parameter], frozen: Mapping[str, Sequence[nn.Module]]
) -> None:
    """Check the Trainer's precision against the dtypes of trained and frozen weights.

    Args:
        trainer: Trainer with the precision.
        trained: weights that are trained.
        frozen: name of a dtype option -> modules with that dtype that gradients pass through.

    Raises:
        ValueError: if trained weights are in half precision, if gradients pass through float16 without loss scaling,
            or if autocast would compute in float16 with bfloat16 weights.
    """
    flag = f"trainer.precision {trainer.precision}"
    if any(weight.dtype in (torch.bfloat16, torch.float16) for weight in trained):
        raise ValueError("the trained weights are in half precision, which rounds small updates to zero; use float32")
    scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
    for option, modules in frozen.items():
        dtypes = {weight.dtype for module in modules for weight in module.parameters()}
        if torch.float16 in dtypes and not scaled:
            raise ValueError(
                f"{option} float16 with {flag}: without loss scaling, small gradients become zero in float16; use "
                "bfloat16 or float32 (or, on a GPU, trainer.precision 16-mixed)"
            )
        if torch.bfloat16 in dtypes and trainer.precision == "16-mixed":
            raise ValueError(
                f"{option} bfloat16 with {flag}: float16 does not hold the range of bfloat16; use trainer.precision "
                "bf16-mixed"
            )
