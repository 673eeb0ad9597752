"""Tiny adapters, and the calls of attached pipelines that tests make."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hypernoise_pl.adapters.files import save_adapter
from hypernoise_pl.attachment.branches import LoraBranches
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.view import LoraOptions
from tests.families.family import SEED, Family
from tests.tiny import randomise


def made(generator: Any, folder: Path, seed: int, **options: Any) -> tuple[NoiseHypernetwork, Path]:
    """A hypernetwork whose residual is not zero, and the folder of its adapter."""
    hypernetwork = NoiseHypernetwork(generator, LoraOptions(rank=2, alpha=4), **options)
    randomise(hypernetwork, seed)
    return hypernetwork, save_adapter(hypernetwork, folder / "adapter")


def refined(case: Family, pipe: Any, **more: Any) -> Tensor:
    """Images of a pipeline for the same start noise at every call."""
    return case.images(pipe, generator=torch.Generator().manual_seed(SEED), **more)


def same(found: Tensor, wanted: Tensor, tolerance: float = 1e-4) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=tolerance)


@contextmanager
def residuals(monkeypatch: Any) -> Iterator[list[Tensor]]:
    """The residuals [B, *Z] that are added while it is open, in their order."""
    found: list[Tensor] = []
    own = LoraBranches.residual

    def noted(*given: Any) -> Tensor:
        found.append(own(*given))
        return found[-1]

    with monkeypatch.context() as patch:
        patch.setattr(LoraBranches, "residual", noted)
        yield found
