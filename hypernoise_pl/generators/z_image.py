"""Z-Image-Turbo: a single-stream transformer of flow matching, distilled to eight steps, that reads chat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.flow import FlowGenerator, euler_levels
from hypernoise_pl.generators.pipeline import DecoderOptions, decode_images, decoder_of, load_pipeline, warn_of_cut
from hypernoise_pl.generators.solver import guided
from hypernoise_pl.types import Conditioning

PATCH = 2  # the network's only patch size in the published models


class ZImage(FlowGenerator):
    """A Z-Image pipeline (diffusers ``ZImagePipeline``), real or in miniature.

    For the same noise its images equal the pipeline's own.

    Args:
        model: folder or hub id.
        height: pixels, a multiple of 16.
        width: like ``height``.
        guidance: of classifier-free guidance, which doubles the batch of an evaluation; as the pipeline counts it, one
            less than elsewhere, and none up to 1. 0 is for Turbo, whose guidance is distilled into it.
        max_sequence_length: text tokens, those of the chat around a prompt included; a longer prompt is cut, with a
            warning.
        dtype: of the frozen weights: ``float32``, ``bfloat16`` or ``float16``.
        revision: of a hub id.
        local_only: never ask the hub.
        decoding: how latents become images.

    Raises:
        FileNotFoundError: if the folder or a file of it is missing.
        ValueError: if its scheduler walks otherwise than is written here, or a size does not fit.

    Source: Z-Image team 2025 (Z-Image, arXiv 2511.22699).
    """

    last_layer = f"all_final_layer.{PATCH}-1.linear"
    network: Any
    decoder: Any

    def __init__(
        self,
        model: str,
        height: int = 1024,
        width: int = 1024,
        guidance: float = 0.0,
        max_sequence_length: int = 512,
        dtype: str = "float32",
        revision: str | None = None,
        local_only: bool = False,
        decoding: DecoderOptions = DecoderOptions(),
    ) -> None:
        super().__init__()

        self.name = model if revision is None else f"{model}@{revision}"
        self.pipeline = load_pipeline("ZImagePipeline", model, dtype, revision=revision, local_files_only=local_only)
        self.network = self.pipeline.transformer
        self.text_encoder = self.pipeline.text_encoder
        self.decoder = decoder_of(self.pipeline, decoding, dtype)
        self.guidance_scale = 1 + guidance if guidance > 1 else 1.0
        self.max_sequence_length = max_sequence_length
        compression = self.pipeline.vae_scale_factor
        grain = compression * PATCH
        if height % grain or width % grain:
            raise ValueError(f"height and width must be multiples of {grain}, got {height} x {width}")
        self.noise_shape = (self.network.config.in_channels, height // compression, width // compression)
        self._nothing: Conditioning | None = None
        self.levels(2)  # a scheduler that walks otherwise is refused here
        self.eval().requires_grad_(False)

    def _encode(self, prompts: list[str]) -> Conditioning:
        for prompt in prompts:
            warn_of_cut(self.pipeline.tokenizer, [prompt], self.max_sequence_length - self._before(prompt))
        return self._read(prompts)

    def _read(self, prompts: list[str]) -> Conditioning:
        device = self._device
        encoded = self.pipeline.encode_prompt(
            list(prompts), device, do_classifier_free_guidance=False, max_sequence_length=self.max_sequence_length
        )
        return self.conditioning_of(encoded)

    def conditioning_of(self, encoded: Sequence[Any]) -> Conditioning:
        """Texts of any length, put into tensors of one length with a mask."""
        texts = encoded[0]
        length = max(self.max_sequence_length, *(len(text) for text in texts))
        embeddings = texts[0].new_zeros(len(texts), length, texts[0].shape[1])
        mask = torch.zeros(embeddings.shape[:2], dtype=torch.long, device=embeddings.device)
        for row, text in enumerate(texts):
            embeddings[row, : len(text)] = text
            mask[row, : len(text)] = 1
        return Conditioning(embeddings, mask)

    @torch.no_grad()
    def _empty(self) -> Conditioning:
        if self._nothing is None:
            with self.text_encoders_at_hand():
                self._nothing = self._read([""])
        return self._nothing

    def _before(self, prompt: str) -> int:
        """Tokens of the chat before the prompt."""
        chat = self.pipeline.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True, enable_thinking=True
        )
        return len(self.pipeline.tokenizer(chat[: chat.index(prompt)]).input_ids)

    def levels(self, steps: int) -> list[float]:
        """Those of the scheduler."""
        _, height, width = self.noise_shape
        return euler_levels(self.pipeline.scheduler, steps, (height // PATCH) * (width // PATCH))

    def _predict(self, network: nn.Module, noise: Tensor, conditioning: Conditioning) -> Tensor:
        return self._evaluate(network, noise, conditioning, 1.0)

    def _velocity(self, network: nn.Module, state: Tensor, conditioning: Conditioning, level: float) -> Tensor:
        def predict(states: Tensor, conditionings: Conditioning) -> Tensor:
            return self._evaluate(network, states, conditionings, level)

        return -guided(predict, state, conditioning, self._empty, self.guidance_scale)

    def _evaluate(self, network: nn.Module, state: Tensor, conditioning: Conditioning, level: float) -> Tensor:
        """[B, *Z] the network's own output, which points from noise to clean; its time is 0 for noise, 1 for clean."""
        dtype, lengths = self.network.dtype, conditioning.mask.sum(1).tolist()  # type: ignore[union-attr]
        texts = [text[:length].to(dtype) for text, length in zip(conditioning.embeddings, lengths, strict=True)]
        outputs = network(
            list(state.to(dtype)[:, :, None].unbind(0)),  # pictures of one frame
            torch.full((len(state),), 1 - level, device=state.device),
            texts,
            return_dict=False,
        )[0]
        return torch.stack(list(outputs)).squeeze(2)

    def _decode(self, latents: Tensor) -> Tensor:
        return decode_images(self.decoder, latents)
