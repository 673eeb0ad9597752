"""Rewards of CLIP's architecture: how well an image and a prompt agree, or which image people prefer."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from hypernoise_pl.pretrained import load_pretrained
from hypernoise_pl.rewards.base import Reward
from hypernoise_pl.rewards.features import clip_features


class CLIPScore(Reward):
    """Scaled cosine between a CLIP model's image and text features, ``exp(logit_scale) * cosine``.

    Args:
        model: folder or hub id of a transformers ``CLIPModel`` with its tokenizer, for example
            ``laion/CLIP-ViT-H-14-laion2B-s32B-b79K``.
        tokenizer: folder or hub id of the tokenizer; that of ``model`` if left out.
        attention: transformers' ``attn_implementation``; its own choice if left out. ``eager`` is several times faster
            for models of a few tokens on a CPU.

    Source: Radford et al. 2021; Hessel et al. 2021 for the use as a score.
    """

    score_range: ClassVar[tuple[float, float]] = (0.0, 40.0)

    def __init__(self, model: str, tokenizer: str | None = None, attention: str | None = None) -> None:
        super().__init__()
        from transformers import CLIPModel, CLIPTokenizer

        # transformers would keep the file's half precision, in which scores are coarse and a CPU is slow
        clip = load_pretrained(CLIPModel, model, "reward", dtype=torch.float32, attn_implementation=attention)
        self.clip = clip.eval().requires_grad_(False)
        self.tokenizer = load_pretrained(CLIPTokenizer, tokenizer or model, "reward")
        self._text: dict[str, Tensor] = {}

    def _score(self, images: Tensor, prompts: list[str]) -> Tensor:
        image = clip_features(self.clip.vision_model, self.clip.visual_projection, images)
        cosine = F.cosine_similarity(image, self._text_features(prompts).to(image), dim=-1)
        return self.clip.logit_scale.exp() * cosine

    @torch.no_grad()
    def _text_features(self, prompts: list[str]) -> Tensor:
        """[B, D] features of prompts, each computed once in a process."""
        device = self.clip.logit_scale.device
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._text]
        if new:
            length = self.clip.config.text_config.max_position_embeddings
            tokens = self.tokenizer(
                new, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
            ).to(device)
            features = self.clip.text_projection(self.clip.text_model(**tokens).pooler_output)
            self._text.update(zip(new, features.float().cpu(), strict=True))
        return torch.stack([self._text[prompt] for prompt in prompts]).to(device)


class PickScore(CLIPScore):
    """A CLIP model trained on human choices between two images of one prompt; its score has CLIPScore's form.

    Args:
        model: folder or hub id, for example ``yuvalkirstain/PickScore_v1``.
        tokenizer: folder or hub id of the tokenizer; that of ``model`` if left out.
        attention: as for ``CLIPScore``.

    Source: Kirstain et al. 2023 (Pick-a-Pic).
    """

    score_range: ClassVar[tuple[float, float]] = (15.0, 25.0)
