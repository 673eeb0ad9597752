"""Qwen-Image: a double-stream transformer of flow matching; in four or eight steps with a Lightning LoRA fused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.fused_lora import FusedLora, fuse
from hypernoise_pl.generators.loading import DecoderOptions
from hypernoise_pl.generators.packing import packed, unpacked
from hypernoise_pl.generators.pipeline import PipelineGenerator, in_range
from hypernoise_pl.generators.schedules.flow import EulerFlow
from hypernoise_pl.types import Conditioning

SIDE = 1024  # pixels a side where none is asked for


class QwenImage(PipelineGenerator):
    """A Qwen-Image pipeline (diffusers ``QwenImagePipeline``), without guidance.

    Its images equal the pipeline's own without a negative prompt. The published model needs guidance and fifty steps;
    distilled weights (Lightning's LoRA) need neither.

    Args:
        model: folder or hub id (``Qwen/Qwen-Image``).
        lora: in diffusers' format, fused into the network's weights first (``lightx2v/Qwen-Image-Lightning`` with
            ``Qwen-Image-Lightning-4steps-V1.0.safetensors``).
        shift: levels are shifted by this factor, in the place of the folder's own schedule; 3 for Lightning. None for
            the folder's own.
        max_sequence_length: text tokens, up to 1024; a longer prompt is cut, with a warning.
        decoding: how latents become images; there is no tiny decoder for this family.
        loading: what every generator takes: ``height``, ``width`` (multiples of 16, 1024 where left out), ``dtype``,
            ``revision``, ``local_only``.

    Raises:
        ValueError: if a tiny decoder is asked for.

    Source: Wu et al. 2025 (Qwen-Image, arXiv 2508.02324); ModelTC's Qwen-Image-Lightning for the shift.
    """

    pipelines = ("QwenImagePipeline",)
    options_seen: ClassVar[dict[str, str | None]] = {"max_sequence_length": None}  # padding is masked
    stand_in: ClassVar[tuple[str, dict[str, Any]] | None] = ("FlowMatchEulerDiscreteScheduler", {})

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
            raise ValueError("decoding.tiny: Qwen-Image's latents have a time axis, no tiny decoder takes them")
        super().__init__(model, decoding=decoding, **loading)
        self.max_sequence_length = max_sequence_length
        if lora is not None:
            self.name += fuse(self.pipeline, lora, self.local_only)
        if shift is not None:
            kind, config = type(self.pipeline.scheduler), self.pipeline.scheduler.config
            changes = {"shift": shift, "use_dynamic_shifting": False, "shift_terminal": None}
            self.pipeline.scheduler = kind.from_config(config, **changes)
        # the last block's own text goes nowhere: its queries, and what comes after attention
        last = f"transformer_blocks.{len(self.network.transformer_blocks) - 1}"
        unused = ("attn.add_q_proj", "attn.to_add_out", "txt_mlp.net.0.proj", "txt_mlp.net.2")
        self.unused_layers = tuple(f"{last}.{name}" for name in unused)
        self.schedule = EulerFlow(self.pipeline.scheduler, self.noise_shape[1] // 2 * (self.noise_shape[2] // 2))

    def _layout(self) -> tuple[int, int, int]:
        return self.network.config.in_channels // 4, 2, SIDE

    def _encode(self, prompts: list[str]) -> Conditioning:
        tokenizer, before = self.pipeline.tokenizer, self.pipeline.prompt_template_encode.split("{}")[0]
        # of what the chat says before a prompt the pipeline drops a fixed count of tokens, which should be all of it
        left = len(tokenizer(before).input_ids) - self.pipeline.prompt_template_encode_start_idx
        self.truncation.check(tokenizer, prompts, self.max_sequence_length - left)
        encoded = self.pipeline.encode_prompt(
            list(prompts),
            self._device,
            max_sequence_length=self.max_sequence_length,
        )
        return self.conditioning_of(encoded)

    def conditioning_of(self, encoded: Sequence[Any]) -> Conditioning:
        """Prompts of any length, put into tensors of one length with a mask."""
        embeddings, mask = encoded
        mask = embeddings.new_ones(embeddings.shape[:2], dtype=torch.long) if mask is None else mask
        missing = max(self.max_sequence_length - embeddings.shape[1], 0)
        return Conditioning(
            nn.functional.pad(embeddings, (0, 0, 0, missing)), nn.functional.pad(mask.long(), (0, missing))
        )

    def _evaluate(self, network: nn.Module, state: Tensor, conditioning: Conditioning, time: float) -> Tensor:
        rows, columns, dtype = *(side // 2 for side in self.noise_shape[1:]), self.network.dtype
        mask = conditioning.mask
        longest = int(mask.sum(1).max())  # type: ignore[union-attr]
        mask = mask[:, :longest].bool()  # type: ignore[index]
        output: Tensor = network(
            hidden_states=self.to_pipeline(state.to(dtype)),
            timestep=torch.full((len(state),), time, device=state.device, dtype=dtype),
            encoder_hidden_states=conditioning.embeddings[:, :longest].to(dtype),
            encoder_hidden_states_mask=None if bool(mask.all()) else mask,
            img_shapes=[[(1, rows, columns)]] * len(state),
            return_dict=False,
        )[0]
        return self.from_pipeline(output)

    def from_pipeline(self, latents: Tensor) -> Tensor:
        """[B, *Z] of the network's tokens."""
        return unpacked(latents, *self.noise_shape[1:])

    def to_pipeline(self, noise: Tensor) -> Tensor:
        """The network's tokens [B, H/2 * W/2, 4 C]."""
        return packed(noise)

    def _decode(self, latents: Tensor) -> Tensor:
        config = self.decoder.config
        latents = latents.to(self.decoder.dtype)
        mean, spread = (latents.new_tensor(c)[:, None, None] for c in (config.latents_mean, config.latents_std))
        images = self.decoder.decode((latents * spread + mean)[:, :, None], return_dict=False)[0][:, :, 0]
        return in_range(images)
