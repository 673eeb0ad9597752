"""CLIP models as rewards: CLIPScore, and the preference models PickScore and HPSv2."""

from __future__ import annotations

import math
from abc import ABC
from pathlib import Path
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from hypernoise_pl.checkpoints.loading import find_file
from hypernoise_pl.progress.truncation import Truncation
from hypernoise_pl.rewards.base import Reward
from hypernoise_pl.rewards.clip_models import is_checkpoint, load_clip, load_tokenizer
from hypernoise_pl.rewards.features import clip_features
from hypernoise_pl.rewards.frozen_network import Precision, freeze
from hypernoise_pl.rewards.text_features import TextFeatureCache
from hypernoise_pl.system.dtypes import at_least_float32


class CLIPCosine(Reward, ABC):
    """Cosine between a CLIP model's image and text features; subclasses scale it.

    Args:
        model: folder or hub id of a transformers ``CLIPModel`` with its tokenizer; or OpenAI's name of a model
            (``ViT-L/14``); or a checkpoint file in open_clip's format.
        tokenizer: folder or hub id of the tokenizer; if left out, that of ``model``, or LAION's for a checkpoint file.
        attention: transformers' ``attn_implementation``; transformers' default if left out. ``eager`` is several times
            faster for models of a few tokens on a CPU.
        architecture: open_clip's name for the architecture of a checkpoint file (``ViT-H-14``, ``ViT-L-14``,
            ``ViT-B-32``; with ``-quickgelu`` for OpenAI's weights), or a file of its model config.
        dtype: precision of the network; the cosine is always in float32.
        checkpoint: recompute the network's activations in the backward pass, to save memory.
    """

    def __init__(
        self,
        model: str,
        tokenizer: str | None = None,
        attention: str | None = None,
        architecture: str = "ViT-H-14",
        dtype: Precision = "float32",
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        clip = load_clip(model, "reward", architecture, attention)
        self.tokenizer = load_tokenizer(model, tokenizer, clip)
        self.scale = math.exp(clip.logit_scale.item())  # a Python float: half precision has an error of a percent
        self.clip = freeze(clip, dtype, checkpoint)
        self.texts = TextFeatureCache(self._encode_text)
        self.truncation = Truncation(f"{type(self).__name__} {model}")

    def cosine(self, images: Tensor, prompts: list[str]) -> Tensor:
        """[B] cosines of images [B, 3, H, W] in [0, 1] with their prompts, in [-1, 1]."""
        image = at_least_float32(clip_features(self.clip.vision_model, self.clip.visual_projection, images))
        return F.cosine_similarity(image, self.texts(prompts).to(image), dim=-1)

    def _encode_text(self, prompts: list[str]) -> Tensor:
        length = self.clip.config.text_config.max_position_embeddings
        self.truncation.check(self.tokenizer, prompts, length)
        tokens = self.tokenizer(
            prompts, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        ).to(self.clip.device)
        return at_least_float32(self.clip.text_projection(self.clip.text_model(**tokens).pooler_output))


class CLIPScore(CLIPCosine):
    """Scaled cosine between a CLIP model's image and text features, ``exp(logit_scale) * cosine``.

    Name the model in every table: Noise Hypernetworks and ReNO use ``laion/CLIP-ViT-H-14-laion2B-s32B-b79K``, most
    other papers OpenAI's ``ViT-L/14``. The arguments are those of ``CLIPCosine``.

    Source: Radford et al. 2021; Hessel et al. 2021 for the use as a score.
    """

    score_range: ClassVar[tuple[float, float]] = (0.0, 40.0)

    def _score(self, images: Tensor, prompts: list[str]) -> Tensor:
        return self.scale * self.cosine(images, prompts)


class PickScore(CLIPCosine):
    """Score of a CLIP model trained on human choices between two images of one prompt: exp(logit_scale) * cosine.

    The published model is ``yuvalkirstain/PickScore_v1``, with the tokenizer of
    ``laion/CLIP-ViT-H-14-laion2B-s32B-b79K``. The arguments are those of ``CLIPCosine``.

    Source: Kirstain et al. 2023 (Pick-a-Pic).
    """

    score_range: ClassVar[tuple[float, float]] = (15.0, 25.0)

    def _score(self, images: Tensor, prompts: list[str]) -> Tensor:
        return self.scale * self.cosine(images, prompts)


class HPSv2(CLIPCosine):
    """Cosine of a CLIP ViT-H-14 trained on human rankings of images, about 0.2 to 0.35.

    The authors' benchmark multiplies it by 100; Noise Hypernetworks weights the cosine with 5. Images are cropped to a
    square, as in Noise Hypernetworks and ReNO; the authors pad them, with the same result for square images.

    Args:
        model: hub id or folder of the authors' checkpoints, one checkpoint file, or a folder in transformers' format.
        version: file to take from a hub id or folder: ``v2.1`` or ``v2``.
        tokenizer: folder or hub id of the tokenizer; if left out, that of ``model``, or LAION's for a checkpoint file.
        attention: transformers' ``attn_implementation``; transformers' default if left out.
        architecture: open_clip's name for the architecture of the checkpoint file; ``ViT-H-14``, with GELU, for the
            authors' files.
        dtype: precision of the network; the cosine is always in float32.
        checkpoint: recompute the network's activations in the backward pass, to save memory.

    Source: Wu et al. 2023 (Human Preference Score v2, arXiv 2306.09341).
    """

    score_range: ClassVar[tuple[float, float]] = (0.15, 0.4)

    def __init__(
        self,
        model: str = "xswu/HPSv2",
        version: Literal["v2", "v2.1"] = "v2.1",
        tokenizer: str | None = None,
        attention: str | None = None,
        architecture: str = "ViT-H-14",
        dtype: Precision = "float32",
        checkpoint: bool = False,
    ) -> None:
        if version not in ("v2", "v2.1"):
            raise ValueError(f"reward {model}: version must be v2 or v2.1, got {version!r}")
        if not is_checkpoint(model) and not (Path(model) / "config.json").exists():
            model = str(find_file(model, f"HPS_{version}_compressed.pt", "reward"))
        super().__init__(model, tokenizer, attention, architecture, dtype, checkpoint)

    def _score(self, images: Tensor, prompts: list[str]) -> Tensor:
        return self.cosine(images, prompts)
