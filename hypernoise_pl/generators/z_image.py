"""Z-Image-Turbo: a single-stream transformer of flow matching, distilled to eight steps, that reads chat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.pipeline import PipelineGenerator
from hypernoise_pl.generators.schedules.flow import EulerFlow
from hypernoise_pl.types import Conditioning

PATCH = 2  # the network's only patch size in the published models
SIDE = 1024  # pixels a side of the published models' images


class ZImage(PipelineGenerator):
    """A Z-Image pipeline (diffusers ``ZImagePipeline``).

    Args:
        model: folder or hub id (``Tongyi-MAI/Z-Image-Turbo``).
        guidance: of classifier-free guidance, which doubles the batch of an evaluation; as the pipeline counts it, one
            less than elsewhere, and none up to 1. 0 is for Turbo, whose guidance is distilled into it.
        max_sequence_length: text tokens, those of the chat around a prompt included; a longer prompt is cut, with a
            warning.
        loading: what every generator takes: ``height``, ``width`` (multiples of 16, 1024 where left out), ``dtype``,
            ``revision``, ``local_only``, ``decoding``.

    Source: Z-Image team 2025 (Z-Image, arXiv 2511.22699).
    """

    pipelines = ("ZImagePipeline",)
    call: ClassVar[dict[str, Any]] = {"guidance_scale": 0.0}
    options_seen: ClassVar[dict[str, str | None]] = {"max_sequence_length": None}  # padding is masked
    stand_in: ClassVar[tuple[str, dict[str, Any]] | None] = ("FlowMatchEulerDiscreteScheduler", {})
    last_layer = f"all_final_layer.{PATCH}-1.linear"

    def __init__(self, model: str, guidance: float = 0.0, max_sequence_length: int = 512, **loading: Any) -> None:
        super().__init__(model, **loading)
        self.classifier_free_guidance = 1 + guidance if guidance > 1 else 1.0
        self.max_sequence_length = max_sequence_length
        _, height, width = self.noise_shape
        self.schedule = EulerFlow(self.pipeline.scheduler, (height // PATCH) * (width // PATCH))
        self.schedule.towards_clean = True

    def _layout(self) -> tuple[int, int, int]:
        return self.network.config.in_channels, PATCH, SIDE

    def _encode(self, prompts: list[str]) -> Conditioning:
        for prompt in prompts:
            self.truncation.check(self.pipeline.tokenizer, [prompt], self.max_sequence_length - self._before(prompt))
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

    def _before(self, prompt: str) -> int:
        """Tokens of the chat before the prompt."""
        chat = self.pipeline.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True, enable_thinking=True
        )
        return len(self.pipeline.tokenizer(chat[: chat.index(prompt)]).input_ids)

    def _evaluate(self, network: nn.Module, state: Tensor, conditioning: Conditioning, time: float) -> Tensor:
        dtype, lengths = self.network.dtype, conditioning.mask.sum(1).tolist()  # type: ignore[union-attr]
        texts = [text[:length].to(dtype) for text, length in zip(conditioning.embeddings, lengths, strict=True)]
        outputs = network(
            list(state.to(dtype)[:, :, None].unbind(0)),  # pictures of one frame
            torch.full((len(state),), time, device=state.device),
            texts,
            return_dict=False,
        )[0]
        return torch.stack(list(outputs)).squeeze(2)
