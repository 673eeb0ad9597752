"""PixArt: PixArt-alpha and Sigma in twenty steps, alpha by DMD or LCM in one to four."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hypernoise_pl.checkpoints.loading import load_pretrained
from hypernoise_pl.generators.loading import precision
from hypernoise_pl.generators.pipeline import PipelineGenerator
from hypernoise_pl.generators.schedules.diffusion import Diffusion, Sampler, set_scheduler
from hypernoise_pl.types import Conditioning


class PixArt(PipelineGenerator):
    """A PixArt pipeline (diffusers ``PixArtAlphaPipeline`` or ``PixArtSigmaPipeline``).

    Its images equal the pipeline's own, unless the pipeline rounds the size to one of its bins.

    Args:
        model: folder or hub id (``PixArt-alpha/PixArt-Sigma-XL-2-1024-MS``).
        transformer: folder or hub id of a ``transformer`` in the place of the model's own, for weights that are
            published alone (DMD's); None for the model's own.
        sampler: sampler of the weights, ``lcm`` for distilled ones in another model's folder; None for the folder's
            own.
        timesteps: falling timesteps in 1 to 999, used where their number is the number of steps ([400] for DMD's one).
            Other numbers of steps take timesteps that fall evenly from the first of them. The hypernetwork reads the
            first.
        guidance_scale: scale of classifier-free guidance, which doubles the batch of an evaluation; values <= 1
            disable it. None gives 1 for distilled models (DMD, LCM) and 4.5, the pipelines' default, for others.
        max_sequence_length: number of text tokens, the end token included; a longer prompt is cut, with a warning.
            None for the pipeline's own: 120 for alpha, 300 for Sigma.
        dtype: dtype of the frozen weights: ``float32``, ``bfloat16`` or ``float16``.
        local_only: True never contacts the hub.
        loading: other options of every generator: ``height``, ``width`` (multiples of 16), ``revision``, ``variant``,
            ``decoding``.

    Source: Chen et al. 2023 (PixArt-alpha, arXiv 2310.00426); Chen et al. 2024 (PixArt-Sigma, arXiv 2403.04692), whose
        supplement has DMD and its timestep 400.
    """

    pipelines = ("PixArtAlphaPipeline", "PixArtSigmaPipeline")
    trained_options: ClassVar[dict[str, str | None]] = {
        "sampler": None,
        "timesteps": None,
        "max_sequence_length": None,  # padding is masked
    }

    def __init__(
        self,
        model: str,
        transformer: str | None = None,
        sampler: Sampler | None = None,
        timesteps: Sequence[int] | None = None,
        guidance_scale: float | None = None,
        max_sequence_length: int | None = None,
        dtype: str = "float32",
        local_only: bool = False,
        **loading: Any,
    ) -> None:
        if transformer is not None:
            self.replaced_components = {"transformer": _transformer(transformer, dtype, local_only)}
        super().__init__(model, dtype=dtype, local_only=local_only, **loading)
        if transformer is not None:
            self.name += f"+{transformer}"
        self.schedule = Diffusion(set_scheduler(self.pipeline, sampler), timesteps)
        self.sampler, self.timesteps = self.schedule.sampler, self.schedule.timesteps
        is_distilled = self.sampler == "lcm" or bool(self.timesteps)
        guided = 1.0 if is_distilled else 4.5
        self.classifier_free_guidance = guided if guidance_scale is None else guidance_scale
        is_alpha = type(self.pipeline).__name__ == "PixArtAlphaPipeline"
        self.max_sequence_length = max_sequence_length or (120 if is_alpha else 300)

    def _encode(self, prompts: list[str]) -> Conditioning:
        cleaned = [prompt.lower().strip() for prompt in prompts]  # as in the pipeline
        self.truncation.check(self.pipeline.tokenizer, prompts, self.max_sequence_length, cleaned)
        encoded = self.pipeline.encode_prompt(
            prompts,
            do_classifier_free_guidance=False,
            device=self._device,
            max_sequence_length=self.max_sequence_length,
        )
        return self.conditioning_of(encoded)

    def conditioning_of(self, encoded: Sequence[Any]) -> Conditioning:
        """Text features and their mask; those of the negative prompt are left out."""
        return Conditioning(encoded[0], encoded[1])

    def _forward_network(
        self, network: nn.Module, state: Tensor, conditioning: Conditioning, timestep: float
    ) -> Tensor:
        dtype, batch = self.network.dtype, len(state)
        extra: dict[str, Tensor | None] = {"resolution": None, "aspect_ratio": None}
        if self.network.use_additional_conditions:  # alpha at 1024 pixels is conditioned on the size
            size = torch.tensor([[self.height, self.width]], device=state.device, dtype=dtype)
            ratio = torch.tensor([[self.height / self.width]], device=state.device, dtype=dtype)
            extra = {"resolution": size.repeat(batch, 1), "aspect_ratio": ratio.repeat(batch, 1)}
        output: Tensor = network(
            state.to(dtype),
            encoder_hidden_states=conditioning.embeddings.to(dtype),
            encoder_attention_mask=conditioning.mask,
            timestep=torch.full((batch,), timestep, device=state.device),
            added_cond_kwargs=extra,
            return_dict=False,
        )[0]
        return output[:, : self.noise_shape[0]]  # the second half of some models' output is the learned variance


def _transformer(model: str, dtype: str, local_only: bool) -> Any:
    """A PixArt transformer from a folder or the hub."""
    from diffusers import PixArtTransformer2DModel

    options = {"subfolder": "transformer", "local_files_only": local_only, **precision(dtype)}
    return load_pretrained(PixArtTransformer2DModel, model, "generator", **options)
