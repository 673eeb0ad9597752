"""ImageReward: a BLIP text encoder with cross-attention to the image, and an MLP head."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hypernoise_pl.checkpoints.conversion import convert_keys, load_strict, read_checkpoint, skip_init
from hypernoise_pl.checkpoints.loading import find_file, load_pretrained, load_tensors
from hypernoise_pl.progress.truncation import Truncation
from hypernoise_pl.rewards.base import Reward
from hypernoise_pl.rewards.frozen_network import Precision, freeze
from hypernoise_pl.rewards.key_maps import IMAGE_REWARD
from hypernoise_pl.rewards.preprocess import preprocess

_TOKENIZER = "google-bert/bert-base-uncased"
_MEAN, _STD = 0.16717362830052426, 1.0333394966054072  # of ImageReward v1.0's raw scores
_MED = (  # keys that transformers reads too; not encoder_width, which the authors' code overrides
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "vocab_size",
    "hidden_act",
    "layer_norm_eps",
)


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
        # is_decoder=True builds the cross-attention; the text attention stays bidirectional
        self.text = BlipTextModel(BlipTextConfig(is_decoder=True, **text), add_pooling_layer=False)
        widths = [text["hidden_size"], *head, 1]
        self.head = nn.Sequential(*(nn.Linear(a, b) for a, b in itertools.pairwise(widths)))

    def encode_images(self, pixels: Tensor) -> Tensor:
        """[B, T, D] image tokens of preprocessed images."""
        return self.vision(pixel_values=pixels).last_hidden_state  # type: ignore[no-any-return]

    def encode_text(self, image_tokens: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """[B, L, D] states before and after each layer, of text tokens [B, L] with image tokens [B, T, D]."""
        return self.text(  # type: ignore[no-any-return]
            ids,
            attention_mask=mask,
            encoder_hidden_states=image_tokens,
            encoder_attention_mask=torch.ones(image_tokens.shape[:2], device=image_tokens.device),
            output_hidden_states=True,
        ).hidden_states

    def forward(self, image_tokens: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """[B] raw scores of image tokens [B, T, D] and text tokens [B, L]."""
        states = self.encode_text(image_tokens, ids, mask)[-1][:, 0]
        return self.head(states.to(next(self.head.parameters()).dtype)).squeeze(-1)  # type: ignore[no-any-return]


class ImageReward(Reward):
    """Human preference for an image of a prompt, standardised to mean 0 and deviation 1.

    Args:
        model: folder or hub id with the authors' ``ImageReward.pt`` and ``med_config.json`` (``THUDM/ImageReward``), or
            a folder with ``config.json`` (vision, text, head, length, mean, std) and ``model.safetensors``.
        tokenizer: folder or hub id of a BERT tokenizer; if left out, that of a folder with ``config.json``, else
            ``bert-base-uncased``. The authors' additional tokens never occur in prompts.
        dtype: precision of the network; the head and the score are always in float32.
        checkpoint: recompute the network's activations in the backward pass, to save memory.

    Raises:
        FileNotFoundError: if a folder or file is missing.
        ValueError: if a file is damaged, or its weights do not match the architecture.

    Source: Xu et al. 2023 (ImageReward, arXiv 2304.05977).
    """

    score_range: ClassVar[tuple[float, float]] = (-2.5, 2.0)

    def __init__(
        self,
        model: str = "THUDM/ImageReward",
        tokenizer: str | None = None,
        dtype: Precision = "float32",
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        from transformers import BertTokenizer

        own_format = (Path(model) / "config.json").exists()
        config, weights = _load_own(Path(model)) if own_format else _load_authors(model)
        self.scorer = skip_init(BlipScorer, config["vision"], config["text"], config["head"])
        load_strict(self.scorer, weights, f"reward {model}")
        self.scorer.eval().requires_grad_(False)
        for part in (self.scorer.vision, self.scorer.text):
            freeze(part, dtype, checkpoint)
        self.tokenizer = load_pretrained(BertTokenizer, tokenizer or (model if own_format else _TOKENIZER), "reward")
        self.image_size: int = config["vision"]["image_size"]
        self.length: int = config["length"]
        self.truncation = Truncation(f"ImageReward {model}")
        self.mean: float = config["mean"]
        self.std: float = config["std"]

    def _score(self, images: Tensor, prompts: list[str]) -> Tensor:
        self.truncation.check(self.tokenizer, prompts, self.length)
        tokens = self.tokenizer(prompts, padding=True, truncation=True, max_length=self.length, return_tensors="pt").to(
            images.device
        )
        image_tokens = self.scorer.encode_images(preprocess(images, self.image_size).to(self.scorer.vision.dtype))
        raw = self.scorer(image_tokens, tokens.input_ids, tokens.attention_mask)
        return (raw - self.mean) / self.std


def _load_own(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    file = folder / "config.json"
    try:
        config: dict[str, Any] = json.loads(file.read_text())
        missing = [key for key in ("vision", "text", "head", "length", "mean", "std") if key not in config]
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"reward {file}: damaged file: {error}") from error
    if missing:
        raise ValueError(f"reward {file}: not an ImageReward config: key {missing[0]!r} is missing")
    return config, load_tensors(folder / "model.safetensors", "reward weights")


def _load_authors(model: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and converted weights of the authors' ImageReward v1.0."""
    file = find_file(model, "ImageReward.pt", "reward")
    weights = convert_keys(read_checkpoint(file, "reward"), IMAGE_REWARD, f"reward {file}")
    config = find_file(model, "med_config.json", "reward")
    try:
        med = json.loads(config.read_text())
        vision = _vision_sizes(weights)
        text = {key: med[key] for key in _MED} | {"encoder_hidden_size": vision["hidden_size"]}
        head = [len(weights[f"head.{index}.weight"]) for index in range(4)]
    except ValueError as error:
        raise ValueError(f"reward {config}: damaged file: {error}") from error
    except KeyError as error:
        raise ValueError(f"reward {model}: {error.args[0]!r} is missing from its weights or med_config.json") from error
    return {"vision": vision, "text": text, "head": head, "length": 35, "mean": _MEAN, "std": _STD}, weights


def _vision_sizes(weights: dict[str, Tensor]) -> dict[str, Any]:
    """Vision config from the weights' shapes (the authors' code fixes ViT-L/16); a timm ViT has heads of width 64."""
    patches = weights["vision.embeddings.patch_embedding.weight"]
    width, side = len(patches), math.isqrt(weights["vision.embeddings.position_embedding"].shape[1] - 1)
    layers = {name.split(".")[3] for name in weights if name.startswith("vision.encoder.layers.")}
    return {
        "hidden_size": width,
        "intermediate_size": len(weights["vision.encoder.layers.0.mlp.fc1.weight"]),
        "num_hidden_layers": len(layers),
        "num_attention_heads": width // 64,
        "image_size": side * patches.shape[-1],
        "patch_size": patches.shape[-1],
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,  # timm's
    }
