"""Image encoders: images to feature vectors, for verifiers and metrics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from hypernoise_pl.checkpoints.loading import load_pretrained_strict
from hypernoise_pl.config.arguments import KeepsArguments
from hypernoise_pl.rewards.clip_models import load_clip
from hypernoise_pl.rewards.frozen_network import Precision, freeze
from hypernoise_pl.rewards.preprocess import load_preprocessing, preprocess
from hypernoise_pl.types import check_shape


class ImageFeatures(KeepsArguments, nn.Module, ABC):
    """A frozen image encoder, differentiable in the images."""

    neutral: ClassVar[tuple[str, ...]] = ("checkpoint",)

    def forward(self, images: Tensor) -> Tensor:
        """Encode images.

        Args:
            images: [B, 3, H, W] in [0, 1], of any size; the encoder resizes them.

        Returns:
            [B, D] features in float32, not normalised.

        Raises:
            ValueError: if the shape is wrong or the images are bytes.
        """
        check_shape("images", images, (None, 3, None, None))
        if not images.is_floating_point():
            raise ValueError(f"images must be floating point numbers in [0, 1], got {images.dtype}; divide by 255")
        features = self._features(images)
        check_shape("features", features, (len(images), None))
        return features.float()

    @abstractmethod
    def _features(self, images: Tensor) -> Tensor: ...


class CLIPImageFeatures(ImageFeatures):
    """Projected image features of a CLIP model.

    Args:
        model: folder or hub id of a transformers ``CLIPModel``, OpenAI's name of one (``ViT-L/14``), or a checkpoint
            file in open_clip's format; only the vision tower is kept.
        attention: transformers' ``attn_implementation``; transformers' default if left out.
        architecture: open_clip's name for the architecture of a checkpoint file (``ViT-H-14``), or a file of its model
            config.
        dtype: precision of the network.
        checkpoint: recompute the network's activations in the backward pass, to save memory.

    Source: Radford et al. 2021.
    """

    def __init__(
        self,
        model: str,
        attention: str | None = None,
        architecture: str = "ViT-H-14",
        dtype: Precision = "float32",
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        # not CLIPVisionModelWithProjection, which reads the projection's width from another key of the config
        clip = load_clip(model, "features", architecture, attention)
        self.tower = freeze(clip.vision_model, dtype, checkpoint)
        self.projection = freeze(clip.visual_projection, dtype)

    def _features(self, images: Tensor) -> Tensor:
        return clip_features(self.tower, self.projection, images)


class VisionFeatures(ImageFeatures):
    """Features of an image encoder of transformers: DINO, DINOv2, ViT, BEiT, ResNet, ConvNext.

    Args:
        model: folder or hub id for ``AutoModel``, with ``preprocessor_config.json``; for example
            ``facebook/dinov2-base``.
        token: ``class``, the last layer's class token; or ``pooled``, the model's pooled output, for networks without a
            class token (ResNet, ConvNext, Swin). DINOv2 returns the same for both.
        attention: transformers' ``attn_implementation``; transformers' default if left out.

    Raises:
        ValueError: if the model is no image encoder, has no class token, or its checkpoint lacks weights.

    Source: Oquab et al. 2023 (DINOv2, arXiv 2304.07193) for the class token as an image feature.
    """

    def __init__(self, model: str, token: Literal["class", "pooled"] = "class", attention: str | None = None) -> None:
        super().__init__()
        from transformers import AutoModel

        if token not in ("class", "pooled"):
            raise ValueError(f"features {model}: token must be class or pooled, got {token!r}")
        # a classifier's checkpoint has no pooler; the class token does not need one
        optional = ("pooler.",) if token == "class" else ()
        encoder = load_pretrained_strict(AutoModel, model, "features", optional, attn_implementation=attention)
        _check_encoder(encoder, model, token)
        self.encoder = encoder.eval().requires_grad_(False)
        self.preprocess = load_preprocessing(model, "features")
        self.token = token

    def _features(self, images: Tensor) -> Tensor:
        output = self.encoder(pixel_values=self.preprocess(images))
        if self.token == "class":
            return output.last_hidden_state[:, 0]
        if output.get("pooler_output") is None:
            raise ValueError(f"features: a {type(self.encoder).__name__} has no pooled output; set token to class")
        return output.pooler_output.flatten(1)


def clip_features(tower: Any, projection: Any, images: Tensor) -> Tensor:
    """[B, D] projected features of images [B, 3, H, W] in [0, 1], from a CLIP model's vision tower and projection."""
    pixels = preprocess(images, tower.config.image_size).to(tower.dtype)
    features: Tensor = projection(tower(pixel_values=pixels).pooler_output)
    return features


def _check_encoder(encoder: Any, model: str, token: str) -> None:
    cls = type(encoder).__name__
    if encoder.main_input_name != "pixel_values":
        raise ValueError(f"features {model}: a {cls} is no image encoder; for a CLIP model use CLIPImageFeatures")
    names = {name.rpartition(".")[2] for name, _ in encoder.named_parameters()}
    if token == "class" and not names & {"cls_token", "class_embedding"}:
        raise ValueError(f"features {model}: a {cls} has no class token; set token to pooled")
