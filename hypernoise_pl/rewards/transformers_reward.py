"""Two-tower models of transformers with a logit scale as rewards: SigLIP, SigLIP 2, CLIP."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from hypernoise_pl.checkpoints.loading import load_pretrained, load_pretrained_strict
from hypernoise_pl.progress.truncation import Truncation
from hypernoise_pl.rewards.base import Reward
from hypernoise_pl.rewards.frozen_network import Precision, freeze
from hypernoise_pl.rewards.preprocess import load_preprocessing
from hypernoise_pl.rewards.text_features import TextFeatureCache
from hypernoise_pl.system.dtypes import at_least_float32


class TransformersReward(Reward):
    """Cosine between image and text features with the model's scale and bias.

        score = exp(logit_scale) * cosine + logit_bias

    Args:
        model: folder or hub id for ``AutoModel``, with tokenizer and ``preprocessor_config.json``; the model needs
            ``get_image_features`` and ``get_text_features``. For example ``google/siglip-so400m-patch14-384``.
        tokenizer: folder or hub id of the tokenizer; that of ``model`` if left out.
        attention: transformers' ``attn_implementation``; transformers' default if left out.
        dtype: precision of the network; the cosine is always in float32.
        checkpoint: recompute the network's activations in the backward pass, to save memory.

    Raises:
        FileNotFoundError: if the folder or a file of it is missing.
        ValueError: if a file is damaged, or the model lacks one of the two features or the scale.

    Source: Zhai et al. 2023 (SigLIP, arXiv 2303.15343) for scale and bias.
    """

    score_range: ClassVar[tuple[float, float]] = (-20.0, 40.0)

    def __init__(
        self,
        model: str,
        tokenizer: str | None = None,
        attention: str | None = None,
        dtype: Precision = "float32",
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        from transformers import AutoModel, AutoTokenizer

        network = load_pretrained_strict(AutoModel, model, "reward", attn_implementation=attention)
        for name in ("get_image_features", "get_text_features", "logit_scale"):
            if not hasattr(network, name):
                raise ValueError(f"reward {model}: a {type(network).__name__} has no {name}; give a two-tower model")
        # Python floats: half precision has an error of a percent
        self.scale = math.exp(network.logit_scale.item())
        self.bias = network.logit_bias.item() if hasattr(network, "logit_bias") else 0.0
        self.network = freeze(network, dtype, checkpoint)
        self.tokenizer = load_pretrained(AutoTokenizer, tokenizer or model, "reward")
        self.preprocess = load_preprocessing(model, "reward")
        self.texts = TextFeatureCache(self._encode_text)
        self.truncation = Truncation(f"{type(self).__name__} {model}")

    def _score(self, images: Tensor, prompts: list[str]) -> Tensor:
        pixels = self.preprocess(images).to(self.network.dtype)
        image = at_least_float32(_pooled(self.network.get_image_features(pixel_values=pixels)))
        return self.scale * F.cosine_similarity(image, self.texts(prompts).to(image), dim=-1) + self.bias

    def _encode_text(self, prompts: list[str]) -> Tensor:
        length = self.network.config.text_config.max_position_embeddings
        self.truncation.check(self.tokenizer, prompts, length)
        tokens = self.tokenizer(
            prompts, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        ).to(self.network.device)
        # SigLIP was trained without a mask of the padding
        masked = not self.network.config.model_type.startswith("siglip")
        inputs = {"attention_mask": tokens.attention_mask} if masked else {}
        return at_least_float32(_pooled(self.network.get_text_features(input_ids=tokens.input_ids, **inputs)))


def _pooled(output: Any) -> Tensor:
    """[B, D] features; transformers 5 returns them in an output object."""
    return output if isinstance(output, Tensor) else output.pooler_output
