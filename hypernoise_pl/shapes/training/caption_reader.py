"""Training of the generator's text encoder: it predicts the facts that a caption states."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from hypernoise_pl.shapes.caption import Combination, sample_prompts, write_caption
from hypernoise_pl.shapes.training.caption_heads import CaptionHeads
from hypernoise_pl.shapes.training.text_to_latent import TextToLatent


class CaptionReader(nn.Module):
    """The text encoder of a model with heads that predict a caption's facts.

    Args:
        model: model whose text encoder is trained.
    """

    def __init__(self, model: TextToLatent) -> None:
        super().__init__()
        self.model, self.heads = model, CaptionHeads(model.text_encoder.config.hidden_size)

    def forward(self, texts: Sequence[str], captions: Sequence[Combination]) -> tuple[Tensor, Tensor]:
        """The loss, and [B] whether all facts are predicted correctly."""
        return self.heads(*self.model.encode(texts), texts, captions)  # type: ignore[no-any-return]


def reader_loss(reader: CaptionReader, config: DictConfig, step: int) -> tuple[Tensor, dict[str, float]]:
    """Loss of the predicted facts on a batch of training captions."""
    rng = random.Random(f"{config.seed}, reader, {step}")
    captions = [caption for _, caption in sample_prompts("train", config.captions, rng.randrange(2**31))]
    loss, correct = reader([write_caption(caption, rng) for caption in captions], captions)
    return loss, {"accuracy": correct.float().mean().item()}


@torch.no_grad()
def caption_accuracy(reader: Any, count: int = 600) -> dict[str, float]:
    """Share of validation prompts whose facts are all predicted correctly."""
    prompts, captions = zip(*sample_prompts("validation", count, 0), strict=True)
    return {"accuracy": reader([prompt.text for prompt in prompts], captions)[1].float().mean().item()}
