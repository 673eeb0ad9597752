"""QwenImage: Qwen-Image, in four or eight steps with a fused Lightning LoRA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.fused_lora import FusedLora, fuse
from hypernoise_pl.generators.loading import DecoderOptions
from hypernoise_pl.generators.packing import pack_latents, unpack_latents
from hypernoise_pl.generators.pipeline import PipelineGenerator, to_unit_range
from hypernoise_pl.generators.schedules.flow import EulerFlow
from hypernoise_pl.types import Conditioning

SIDE = 1024  # default image side in pixels


class QwenImage(PipelineGenerator):
    """A Qwen-Image pipeline (diffusers ``QwenImagePipeline``), without guidance.

    Its images equal the pipeline's own without a negative prompt. The published model needs guidance and fifty steps;
    distilled weights (Lightning's LoRA) need neither.

    Args:
        model: folder or hub id (``Qwen/Qwen-Image``).
        lora: distillation LoRA to fuse into the network's weights (``lightx2v/Qwen-Image-Lightning`` with
            ``Qwen-Image-Lightning-4steps-V1.0.safetensors``).
        shift: factor by which times are shifted towards noise, in the place of the folder's own schedule; 3 for
            Lightning. None for the folder's own.
        max_sequence_length: number of text tokens, at most 1024; a longer prompt is cut, with a warning.
        decoding: decoder options; this family has no tiny decoder.
        loading: options of every generator: ``height``, ``width`` (multiples of 16, 1024 if left out), ``dtype``,
            ``revision``, ``local_only``.

    Raises:
        ValueError: if ``decoding`` names a tiny decoder.

    Source: Wu et al. 2025 (Qwen-Image, arXiv 2508.02324); ModelTC's Qwen-Image-Lightning for the shift.
    """

    pipelines = ("QwenImagePipeline",)
    trained_options: ClassVar[dict[str, str | None]] = {"max_sequence_length": None}  # padding is masked
    scheduler_override: ClassVar[tuple[str, dict[str, Any]] | None] = ("FlowMatchEulerDiscreteScheduler", {})

    def __init__(
        self,
        model: str,
        lora: FusedLora | None = None,
        shift: float | None = None,
        max_sequence_length: int = 512,
        decoding: DecoderOptions = DecoderOptions(),
        **loading: Any,
    ) -> None:
        if decoding.tiny is not None:
            raise ValueError(
                "decoding.tiny: Qwen-Image's latents have a time axis, which no tiny decoder supports; leave it out"
            )
        super().__init__(model, decoding=decoding, **loading)
        self.max_sequence_length = max_sequence_length
        if lora is not None:
            self.name += fuse(self.pipeline, lora, self.local_only)
        if shift is not None:
            scheduler = self.pipeline.scheduler
            changes = {"shift": shift, "use_dynamic_shifting": False, "shift_terminal": None}
            self.pipeline.scheduler = type(scheduler).from_config(scheduler.config, **changes)
        # the network drops the last block's text stream: its queries, and the layers after attention
        last = f"transformer_blocks.{len(self.network.transformer_blocks) - 1}"
        unused = ("attn.add_q_proj", "attn.to_add_out", "txt_mlp.net.0.proj", "txt_mlp.net.2")
        self.unused_layers = tuple(f"{last}.{name}" for name in unused)
        self.schedule = EulerFlow(self.pipeline.scheduler, self.noise_shape[1] // 2 * (self.noise_shape[2] // 2))

    def _latent_layout(self) -> tuple[int, int, int]:
        return self.network.config.in_channels // 4, 2, SIDE

    def _encode(self, prompts: list[str]) -> Conditioning:
        tokenizer, before = self.pipeline.tokenizer, self.pipeline.prompt_template_encode.split("{}")[0]
        # the pipeline drops a fixed number of tokens of the chat template before the prompt; some may be left
        left = len(tokenizer(before).input_ids) - self.pipeline.prompt_template_encode_start_idx
        self.truncation.check(tokenizer, prompts, self.max_sequence_length - left)
        encoded = self.pipeline.encode_prompt(
            list(prompts),
            self._device,
            max_sequence_length=self.max_sequence_length,
        )
        return self.conditioning_of(encoded)

    def conditioning_of(self, encoded: Sequence[Any]) -> Conditioning:
        """Prompts of any length, padded to one length with a mask."""
        embeddings, mask = encoded
        mask = embeddings.new_ones(embeddings.shape[:2], dtype=torch.long) if mask is None else mask
        missing = max(self.max_sequence_length - embeddings.shape[1], 0)
        return Conditioning(
            nn.functional.pad(embeddings, (0, 0, 0, missing)), nn.functional.pad(mask.long(), (0, missing))
        )

    def _forward_network(
        self, network: nn.Module, state: Tensor, conditioning: Conditioning, timestep: float
    ) -> Tensor:
        rows, columns, dtype = *(side // 2 for side in self.noise_shape[1:]), self.network.dtype
        mask = conditioning.mask
        longest = int(mask.sum(1).max())  # type: ignore[union-attr]
        mask = mask[:, :longest].bool()  # type: ignore[index]
        output: Tensor = network(
            hidden_states=self.pack_latents(state.to(dtype)),
            timestep=torch.full((len(state),), timestep, device=state.device, dtype=dtype),
            encoder_hidden_states=conditioning.embeddings[:, :longest].to(dtype),
            encoder_hidden_states_mask=None if bool(mask.all()) else mask,
            img_shapes=[[(1, rows, columns)]] * len(state),
            return_dict=False,
        )[0]
        return self.unpack_latents(output)

    def unpack_latents(self, latents: Tensor) -> Tensor:
        """Latents [B, *Z] from the network's tokens [B, H/2 * W/2, 4 C]."""
        return unpack_latents(latents, *self.noise_shape[1:])

    def pack_latents(self, latents: Tensor) -> Tensor:
        """The network's tokens [B, H/2 * W/2, 4 C] from latents [B, *Z]."""
        return pack_latents(latents)

    def _decode(self, latents: Tensor) -> Tensor:
        config = self.decoder.config
        latents = latents.to(self.decoder.dtype)
        mean, std = (latents.new_tensor(c)[:, None, None] for c in (config.latents_mean, config.latents_std))
        images = self.decoder.decode((latents * std + mean)[:, :, None], return_dict=False)[0][:, :, 0]
        return to_unit_range(images)
