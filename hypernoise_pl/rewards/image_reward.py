"""ImageReward: a BLIP text encoder that looks at the image, and a small head that says how good it is."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hypernoise_pl.pretrained import load_pretrained, load_tensors
from hypernoise_pl.rewards.base import Reward
from hypernoise_pl.rewards.preprocess import preprocess


class BlipScorer(nn.Module):
    """The network: image tokens, a text encoder with cross-attention to them, and an MLP on the first text token.

    Args:
        vision: keyword arguments of transformers' ``BlipVisionConfig``.
        text: keyword arguments of ``BlipTextConfig``.
        head: widths of the hidden layers of the MLP; there is no activation between them, as in the original.
    """

    def __init__(self, vision: dict[str, Any], text: dict[str, Any], head: Sequence[int]) -> None:
        super().__init__()
        from transformers import BlipTextConfig, BlipVisionConfig
        from transformers.models.blip.modeling_blip import BlipVisionModel
        from transformers.models.blip.modeling_blip_text import BlipTextModel

        self.vision = BlipVisionModel(BlipVisionConfig(**vision))
        # is_decoder builds the cross-attention; the encoder itself is used in both directions
        self.text = BlipTextModel(BlipTextConfig(is_decoder=True, **text), add_pooling_layer=False)
        widths = [text["hidden_size"], *head, 1]
        self.head = nn.Sequential(*(nn.Linear(a, b) for a, b in itertools.pairwise(widths)))

    def look(self, pixels: Tensor) -> Tensor:
        """[B, T, D] image tokens of preprocessed images."""
        return self.vision(pixel_values=pixels).last_hidden_state  # type: ignore[no-any-return]

    def read(self, image_tokens: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """[B, L, D] states of text tokens [B, L] that look at image tokens [B, T, D], before and after each layer."""
        return self.text(  # type: ignore[no-any-return]
            ids,
            attention_mask=mask,
            encoder_hidden_states=image_tokens,
            encoder_attention_mask=torch.ones(image_tokens.shape[:2], device=image_tokens.device),
            output_hidden_states=True,
        ).hidden_states

    def forward(self, image_tokens: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """[B] raw scores of image tokens [B, T, D] against text tokens [B, L]."""
        return self.head(self.read(image_tokens, ids, mask)[-1][:, 0]).squeeze(-1)  # type: ignore[no-any-return]


class ImageReward(Reward):
    """A reward model of human preference for text-to-image generation, in standardised units.

    Args:
        model: folder with ``config.json`` (vision, text, head, length, mean, std), ``model.safetensors`` and a BERT
            tokenizer.

    Source: Xu et al. 2023 (ImageReward, arXiv 2304.05977).
    """

    score_range: ClassVar[tuple[float, float]] = (-2.5, 2.0)

    def __init__(self, model: str) -> None:
        super().__init__()
        from transformers import BertTokenizer

        folder = Path(model)
        if not (folder / "config.json").exists():
            raise FileNotFoundError(f"reward {model}: no config.json in that folder")
        try:
            config = json.loads((folder / "config.json").read_text())
        except ValueError as error:
            raise ValueError(f"reward {folder / 'config.json'}: damaged file: {error}") from error
        self.scorer = BlipScorer(config["vision"], config["text"], config["head"])
        weights = {
            key: value.float() for key, value in load_tensors(folder / "model.safetensors", "reward weights").items()
        }
        self.scorer.load_state_dict(weights)
        self.scorer.eval().requires_grad_(False)
        self.tokenizer = load_pretrained(BertTokenizer, model, "reward")
        self.image_size: int = config["vision"]["image_size"]
        self.length: int = config["length"]
        self.mean: float = config["mean"]
        self.std: float = config["std"]

    def _score(self, images: Tensor, prompts: list[str]) -> Tensor:
        tokens = self.tokenizer(prompts, padding=True, truncation=True, max_length=self.length, return_tensors="pt").to(
            images.device
        )
        image_tokens = self.scorer.look(preprocess(images, self.image_size))
        raw = self.scorer(image_tokens, tokens.input_ids, tokens.attention_mask)
        return (raw - self.mean) / self.std
