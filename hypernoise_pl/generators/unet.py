"""UNetGenerator: the part that Stable Diffusion 1, 2 and XL share, distilled to few steps without guidance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from hypernoise_pl.generators.fused_lora import FusedLora, fuse
from hypernoise_pl.generators.pipeline import PipelineGenerator
from hypernoise_pl.generators.schedules.diffusion import Diffusion, Sampler, set_scheduler


class UNetGenerator(PipelineGenerator):
    """A UNet of diffusion, with any sampler of ``Diffusion`` and a fused distillation LoRA.

    Its images equal the pipeline's own with ``guidance_scale=0``.

    Args:
        model: folder or hub id (``stabilityai/sd-turbo``, ``stabilityai/sdxl-turbo``, or a base model for a LoRA).
        sampler: sampler of the model or the LoRA; None for the folder's own. The class's table has those of LoRAs.
        timesteps: falling timesteps in 1 to 999, used where their number is the number of steps. Other numbers of steps
            take timesteps that fall evenly from the first of them. The hypernetwork reads the first.
        eta: share of fresh noise in ``tcd``, in [0, 1]; Hyper-SD's is 1, and less gives more detail.
        lora: distillation LoRA to fuse into the frozen weights.
        loading: options of every generator: ``height``, ``width`` (multiples of 8), ``dtype``, ``revision``,
            ``local_only``, ``variant``, ``decoding``.

    Attributes:
        upcasts_decoder: whether the decoder overflows in half precision and runs in float32 where its config says so.

    Raises:
        ValueError: if the UNet is conditioned on guidance (LCM's), or the sampler or a timestep is not supported.
    """

    call: ClassVar[dict[str, Any]] = {"guidance_scale": 0.0}
    trained_options: ClassVar[dict[str, str | None]] = {"sampler": None, "timesteps": None}
    last_layer = "conv_out"
    upcasts_decoder: ClassVar[bool] = False

    def __init__(
        self,
        model: str,
        sampler: Sampler | None = None,
        timesteps: Sequence[int] | None = None,
        eta: float = 1.0,
        lora: FusedLora | None = None,
        **loading: Any,
    ) -> None:
        super().__init__(model, **loading)
        if self.network.config.time_cond_proj_dim is not None:
            raise ValueError(
                f"generator {self.name}: guidance-conditioned UNets (LCM) are not supported; use an LCM LoRA"
            )
        if lora is not None:
            self.name += fuse(self.pipeline, lora, self.local_only)
        self.schedule = Diffusion(set_scheduler(self.pipeline, sampler), timesteps, eta)
        self.sampler, self.timesteps = self.schedule.sampler, self.schedule.timesteps
        upcasts = self.upcasts_decoder and self.owns_pipeline
        if upcasts and self.decoder.dtype == torch.float16 and self.decoder.config.force_upcast:
            self.decoder.float()
