"""Statistics of the refined noise and its measured KL divergence, which the L2 penalty of training approximates."""

from __future__ import annotations

from typing import Any

import lightning as L
from torch import Tensor

from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.metrics.kl import lipschitz, measured_kl
from hypernoise_pl.noise import noise_correlations, noise_statistics
from hypernoise_pl.progress import part
from hypernoise_pl.types import Rollout


class NoiseHealth(L.Callback):
    """Logs the statistics of the noise, and the KL with the terms that the L2 penalty leaves out, at each validation.

    ``noise/kl/total`` is ``half_square + trace - log_det``, in nats per image. ``noise/lipschitz`` is the largest norm
    of the Jacobian of f. ``noise/correlation/`` has the ``noise_correlations`` of the first batch's refined noise: 0
    for white noise, within the standard errors given there. Direct fine-tuning moves no noise; nothing is logged then.

    Args:
        images: number of measured images, the first of the first batch.
        probes: random directions per image; exact from the number of elements of the noise upwards.
        order: Lanczos steps for log|det|; each takes one forward derivative and one backward pass per probe.
    """

    def __init__(self, images: int = 8, probes: int = 4, order: int = 12) -> None:
        self.images, self.probes, self.order = images, probes, order

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Measure on the first batch."""
        if batch_idx or trainer.sanity_checking or not isinstance(pl_module.adapter, NoiseHypernetwork):
            return
        rollout: Rollout = outputs["hypernetwork"]
        conditioning = pl_module.conditioning(rollout.texts[: self.images])
        noise = rollout.noise[: self.images]

        def residual(x: Tensor) -> Tensor:
            return pl_module.adapter(x, conditioning)  # type: ignore[no-any-return]

        with part("KL of the noise"):
            kl = measured_kl(residual, noise, self.probes, self.order)
            largest = lipschitz(residual, noise).max()
        kl["total"] = kl.pop("kl")
        figures = {f"noise/kl/{name}": figure.mean() for name, figure in kl.items()}
        figures["noise/lipschitz"] = largest
        figures |= {f"noise/validation/{name}": value for name, value in noise_statistics(rollout.refined).items()}
        correlations = noise_correlations(rollout.refined)
        figures |= {f"noise/correlation/{name}": value for name, value in correlations.items()}
        pl_module.log_dict(figures, batch_size=len(rollout.prompts), on_epoch=True)
