"""DiT: a class-conditional diffusion transformer; a prompt is the name or the number of a class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.diffusion import Diffusion
from hypernoise_pl.generators.loading import DecoderOptions
from hypernoise_pl.generators.pipeline import PipelineGenerator
from hypernoise_pl.types import Conditioning, nearest


class DiT(PipelineGenerator):
    """A DiT pipeline (diffusers ``DiTPipeline``).

    Its size is its network's: it takes no other.

    Args:
        model: folder or hub id (``facebook/DiT-XL-2-256``).
        guidance_scale: of classifier-free guidance, which doubles the batch of an evaluation; up to 1 there is none.
        spacing: of timesteps: ``trailing`` starts at the noisiest, as few steps need; ``leading``, the published
            model's, starts at 1000 - 1000 / steps, and is for many. None for the folder's own.
        dtype: of the frozen weights: ``float32``, ``bfloat16`` or ``float16``.
        revision: of a hub id.
        local_only: never ask the hub.
        decoding: how latents become images.

    Source: Peebles and Xie 2023 (DiT, arXiv 2212.09748).
    """

    pipelines = ("DiTPipeline",)
    last_layer = "proj_out_2"
    shared_blocks = ("transformer_blocks.0",)  # whose embedding of time and class the last layer reads

    def __init__(
        self,
        model: str,
        guidance_scale: float = 4.0,
        spacing: str | None = None,
        dtype: str = "float32",
        revision: str | None = None,
        local_only: bool = False,
        decoding: DecoderOptions = DecoderOptions(),
    ) -> None:
        super().__init__(model, dtype=dtype, revision=revision, local_only=local_only, decoding=decoding)
        self.classifier_free_guidance = guidance_scale
        self.classes: int = self.network.config.num_embeds_ada_norm
        if spacing is not None:
            scheduler = self.pipeline.scheduler
            self.pipeline.scheduler = type(scheduler).from_config(scheduler.config, timestep_spacing=spacing)
        self.schedule = Diffusion(self.pipeline.scheduler)

    @property
    def _compression(self) -> int:
        return int(2 ** (len(self.pipeline.vae.config.block_out_channels) - 1))

    def _encode(self, prompts: list[str]) -> Conditioning:
        """[B, 1, 1] class numbers stand where other families have text features."""
        numbers = [self._number(prompt.strip()) for prompt in prompts]
        return self.conditioning_of([torch.tensor(numbers, device=self._device)])

    def conditioning_of(self, encoded: Sequence[Any]) -> Conditioning:
        """Of class numbers [B]: the pipeline has no ``encode_prompt``, its network is given them."""
        return Conditioning(encoded[0][:, None, None])

    def _number(self, prompt: str) -> int:
        labels: dict[str, int] = {name.lower(): number for name, number in self.pipeline.labels.items()}
        if prompt.lower() in labels:
            return labels[prompt.lower()]
        if prompt.isdecimal() and int(prompt) < self.classes:
            return int(prompt)
        raise ValueError(
            f"no class is called {prompt!r}{nearest(prompt.lower(), labels)}; a prompt is one of the {len(labels)} "
            f"class names of the folder's model_index.json or a number from 0 to {self.classes - 1}"
        )

    def _nothing(self) -> Conditioning:
        return Conditioning(torch.full((1, 1, 1), self.classes))  # the class after the last stands for none

    def _evaluate(self, network: nn.Module, state: Tensor, conditioning: Conditioning, time: float) -> Tensor:
        output: Tensor = network(
            state.to(self.network.dtype),
            timestep=torch.full((len(state),), time, device=state.device),
            class_labels=conditioning.embeddings[:, 0, 0],
            return_dict=False,
        )[0]
        return output[:, : self.noise_shape[0]]  # the second half is the learned variance
