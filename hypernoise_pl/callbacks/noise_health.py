"""Is the refined noise still Gaussian? The true KL divergence, which training only approximates by its L2 term."""

from __future__ import annotations

from typing import Any

import lightning as L

from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.noise import noise_statistics
from hypernoise_pl.objective import measured_kl
from hypernoise_pl.types import Rollout


class NoiseHealth(L.Callback):
    """Logs, at each validation, the noise's statistics and the KL with the terms that the L2 penalty leaves out.

    ``validation/kl/total`` is ``half_square + trace - log_det``, in nats per image; where
    ``validation/lipschitz`` comes to 1 the estimate of ``log_det`` means nothing. Direct fine-tuning moves no noise,
    and nothing is logged for it.

    Args:
        images: measured, the first of the first batch.
        probes: random directions an image.
        order: terms of the series for log|det|; each costs one backward pass a probe.
    """

    def __init__(self, images: int = 16, probes: int = 2, order: int = 6) -> None:
        self.images, self.probes, self.order = images, probes, order

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Measure on the first batch."""
        if batch_idx or trainer.sanity_checking or not isinstance(pl_module.hypernetwork, NoiseHypernetwork):
            return
        rollout: Rollout = outputs["hypernetwork"]
        conditioning = pl_module.conditioning(rollout.texts[: self.images])
        found = measured_kl(
            lambda noise: pl_module.hypernetwork(noise, conditioning),
            rollout.noise[: self.images],
            self.probes,
            self.order,
        )
        figures = {f"validation/kl/{name}": found[name].mean() for name in ("half_square", "trace", "log_det")}
        figures |= {"validation/kl/total": found["kl"].mean(), "validation/lipschitz": found["lipschitz"].max()}
        figures |= {f"validation/noise/{name}": value for name, value in noise_statistics(rollout.refined).items()}
        pl_module.log_dict(figures, batch_size=len(rollout.prompts), on_epoch=True)
