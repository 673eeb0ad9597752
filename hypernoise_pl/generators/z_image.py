"""ZImage: Z-Image-Turbo, a flow matching transformer distilled to eight steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.pipeline import PipelineGenerator
from hypernoise_pl.generators.schedules.flow import EulerFlow
from hypernoise_pl.types import Conditioning

PATCH = 2  # patch size of the published models
SIDE = 1024  # default image side in pixels


class ZImage(PipelineGenerator):
    """A Z-Image pipeline (diffusers ``ZImagePipeline``).

    Args:
        model: folder or hub id (``Tongyi-MAI/Z-Image-Turbo``).
        guidance: scale of classifier-free guidance minus one (the pipeline's convention), which doubles the batch of an
            evaluation; values <= 1 disable it. Turbo needs 0: its guidance is distilled.
        max_sequence_length: number of text tokens, those of the chat template included; a longer prompt is cut, with a
            warning.
        loading: options of every generator: ``height``, ``width`` (multiples of 16, 1024 if left out), ``dtype``,
            ``revision``, ``local_only``, ``decoding``.

    Source: Z-Image team 2025 (Z-Image, arXiv 2511.22699).
    """

    pipelines = ("ZImagePipeline",)
    call: ClassVar[dict[str, Any]] = {"guidance_scale": 0.0}
    trained_options: ClassVar[dict[str, str | None]] = {"max_sequence_length": None}  # padding is masked
    scheduler_override: ClassVar[tuple[str, dict[str, Any]] | None] = ("FlowMatchEulerDiscreteScheduler", {})
    last_layer = f"all_final_layer.{PATCH}-1.linear"

    def __init__(self, model: str, guidance: float = 0.0, max_sequence_length: int = 512, **loading: Any) -> None:
        super().__init__(model, **loading)
        self.classifier_free_guidance = 1 + guidance if guidance > 1 else 1.0
        self.max_sequence_length = max_sequence_length
        _, height, width = self.noise_shape
        tokens = (height // PATCH) * (width // PATCH)
        self.schedule = EulerFlow(self.pipeline.scheduler, tokens, reversed_time=True)

    def _latent_layout(self) -> tuple[int, int, int]:
        return self.network.config.in_channels, PATCH, SIDE

    def _encode(self, prompts: list[str]) -> Conditioning:
        for prompt in prompts:
            self.truncation.check(
                self.pipeline.tokenizer, [prompt], self.max_sequence_length - self._template_tokens(prompt)
            )
        encoded = self.pipeline.encode_prompt(
            list(prompts),
            self._device,
            do_classifier_free_guidance=False,
            max_sequence_length=self.max_sequence_length,
        )
        return self.conditioning_of(encoded)

    def conditioning_of(self, encoded: Sequence[Any]) -> Conditioning:
        """Prompts of any length, padded to one length with a mask."""
        texts = encoded[0]
        length = max(self.max_sequence_length, *(len(text) for text in texts))
        embeddings = texts[0].new_zeros(len(texts), length, texts[0].shape[1])
        mask = torch.zeros(embeddings.shape[:2], dtype=torch.long, device=embeddings.device)
        for row, text in enumerate(texts):
            embeddings[row, : len(text)] = text
            mask[row, : len(text)] = 1
        return Conditioning(embeddings, mask)

    def _template_tokens(self, prompt: str) -> int:
        """Number of the chat template's tokens before the prompt."""
        chat = self.pipeline.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True, enable_thinking=True
        )
        return len(self.pipeline.tokenizer(chat[: chat.index(prompt)]).input_ids)

    def _forward_network(
        self, network: nn.Module, state: Tensor, conditioning: Conditioning, timestep: float
    ) -> Tensor:
        dtype, lengths = self.network.dtype, conditioning.mask.sum(1).tolist()  # type: ignore[union-attr]
        texts = [text[:length].to(dtype) for text, length in zip(conditioning.embeddings, lengths, strict=True)]
        outputs = network(
            list(state.to(dtype)[:, :, None].unbind(0)),  # images of one frame
            torch.full((len(state),), timestep, device=state.device),
            texts,
            return_dict=False,
        )[0]
        return torch.stack(list(outputs)).squeeze(2)
