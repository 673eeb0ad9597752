"""Qwen-Image: a double-stream transformer of flow matching; in four or eight steps with a Lightning LoRA fused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.flow import FlowGenerator, euler_levels
from hypernoise_pl.generators.pipeline import DecoderOptions, at_least_single, decoder_of, load_pipeline, warn_of_cut
from hypernoise_pl.types import Conditioning

PATCH = 2  # the pipeline packs latents two by two


class QwenImage(FlowGenerator):
    """A Qwen-Image pipeline (diffusers ``QwenImagePipeline``), real or in miniature, without guidance.

    For the same noise its images equal the pipeline's own without a negative prompt. The published model needs
    guidance and fifty steps; distilled weights (Lightning's LoRA) need neither.

    Args:
        model: folder or hub id.
        lora: file, folder or hub id of a LoRA in diffusers' format that is fused into the network's weights first; None
            for none.
        lora_file: name of its file, where a folder or hub id has several.
        shift: levels are shifted by this factor, in the place of the folder's own schedule; 3 for Lightning. None for
            the folder's own.
        height: pixels, a multiple of 16.
        width: like ``height``.
        max_sequence_length: text tokens, up to 1024; a longer prompt is cut, with a warning.
        dtype: of the frozen weights: ``float32``, ``bfloat16`` or ``float16``.
        revision: of a hub id.
        local_only: never ask the hub.
        decoding: how latents become images; there is no tiny decoder for this family.

    Raises:
        FileNotFoundError: if a folder or a file of it is missing.
        ValueError: if its scheduler walks otherwise than is written here, a size does not fit, or a tiny decoder is
            asked for.

    Source: Wu et al. 2025 (Qwen-Image, arXiv 2508.02324); ModelTC's Qwen-Image-Lightning for the shift.
    """

    last_layer = "proj_out"
    network: Any
    decoder: Any

    def __init__(
        self,
        model: str,
        lora: str | None = None,
        lora_file: str | None = None,
        shift: float | None = None,
        height: int = 1024,
        width: int = 1024,
        max_sequence_length: int = 512,
        dtype: str = "float32",
        revision: str | None = None,
        local_only: bool = False,
        decoding: DecoderOptions = DecoderOptions(),
    ) -> None:
        super().__init__()

        if decoding.tiny is not None:
            raise ValueError("decoding.tiny: Qwen-Image's latents have a time axis, no tiny decoder takes them")
        self.name = "+".join(part for part in (model, lora, lora_file) if part) + (f"@{revision}" if revision else "")
        self.pipeline = load_pipeline("QwenImagePipeline", model, dtype, revision=revision, local_files_only=local_only)
        if lora is not None:
            _fuse(self.pipeline, lora, lora_file, local_only)
        self.network = self.pipeline.transformer
        self.text_encoder = self.pipeline.text_encoder
        self.decoder = decoder_of(self.pipeline, decoding, dtype)
        if shift is not None:
            kind, config = type(self.pipeline.scheduler), self.pipeline.scheduler.config
            changes = {"shift": shift, "use_dynamic_shifting": False, "shift_terminal": None}
            self.pipeline.scheduler = kind.from_config(config, **changes)
        self.max_sequence_length = max_sequence_length
        compression = self.pipeline.vae_scale_factor
        grain = compression * PATCH
        if height % grain or width % grain:
            raise ValueError(f"height and width must be multiples of {grain}, got {height} x {width}")
        channels = self.network.config.in_channels // PATCH**2
        self.noise_shape = (channels, height // compression, width // compression)
        self.levels(2)  # a scheduler that walks otherwise is refused here
        self.eval().requires_grad_(False)

    def _encode(self, prompts: list[str]) -> Conditioning:
        tokenizer, before = self.pipeline.tokenizer, self.pipeline.prompt_template_encode.split("{}")[0]
        # of what the chat says before a prompt the pipeline drops a fixed count of tokens, which should be all of it
        left = len(tokenizer(before).input_ids) - self.pipeline.prompt_template_encode_start_idx
        warn_of_cut(tokenizer, prompts, self.max_sequence_length - left)
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

    def levels(self, steps: int) -> list[float]:
        """Those of the scheduler."""
        _, height, width = self.noise_shape
        return euler_levels(self.pipeline.scheduler, steps, (height // PATCH) * (width // PATCH))

    def _predict(self, network: nn.Module, noise: Tensor, conditioning: Conditioning) -> Tensor:
        return self._velocity(network, noise, conditioning, 1.0)

    def _velocity(self, network: nn.Module, state: Tensor, conditioning: Conditioning, level: float) -> Tensor:
        rows, columns, dtype = *(side // PATCH for side in self.noise_shape[1:]), self.network.dtype
        mask = conditioning.mask
        longest = int(mask.sum(1).max())  # type: ignore[union-attr]
        mask = mask[:, :longest].bool()  # type: ignore[index]
        output: Tensor = network(
            hidden_states=self.to_pipeline(state.to(dtype)),
            timestep=torch.full((len(state),), level, device=state.device, dtype=dtype),
            encoder_hidden_states=conditioning.embeddings[:, :longest].to(dtype),
            encoder_hidden_states_mask=None if bool(mask.all()) else mask,
            img_shapes=[[(1, rows, columns)]] * len(state),
            return_dict=False,
        )[0]
        return self.from_pipeline(output)

    def from_pipeline(self, latents: Tensor) -> Tensor:
        """[B, *Z] of the network's tokens."""
        channels, height, width = self.noise_shape
        patches = latents.view(-1, height // PATCH, width // PATCH, channels, PATCH, PATCH).permute(0, 3, 1, 4, 2, 5)
        return patches.reshape(-1, channels, height, width)

    def to_pipeline(self, noise: Tensor) -> Tensor:
        """The network's tokens [B, h w, 4 C]."""
        patches = noise.unflatten(3, (-1, PATCH)).unflatten(2, (-1, PATCH))  # [B, C, h, 2, w, 2]
        return patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)

    def _decode(self, latents: Tensor) -> Tensor:
        config = self.decoder.config
        latents = latents.to(self.decoder.dtype)
        mean, spread = (latents.new_tensor(c)[:, None, None] for c in (config.latents_mean, config.latents_std))
        images = self.decoder.decode((latents * spread + mean)[:, :, None], return_dict=False)[0][:, :, 0]
        return (at_least_single(images) / 2 + 0.5).clamp(0, 1)


def _fuse(pipeline: Any, lora: str, file: str | None, local_only: bool) -> None:
    if not Path(lora).exists() and (lora.startswith((".", "/")) or lora.count("/") != 1):
        raise FileNotFoundError(f"LoRA {lora}: no such file or folder, and no hub id (owner/name)")
    options = {} if file is None else {"weight_name": file}
    try:
        pipeline.load_lora_weights(lora, local_files_only=local_only, **options)
    except OSError as error:
        raise FileNotFoundError(f"LoRA {lora}: {str(error).splitlines()[0]}") from error
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
