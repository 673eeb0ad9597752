"""Colours of detected objects by zero-shot CLIP classification of their crops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypernoise_pl.config.arguments import KeepsArguments
from hypernoise_pl.metrics.geneval.detector import DetectedObject
from hypernoise_pl.metrics.geneval.rules import COLOURS
from hypernoise_pl.rewards.clip_models import load_clip, load_tokenizer
from hypernoise_pl.rewards.features import clip_features
from hypernoise_pl.rewards.frozen_network import Precision, freeze
from hypernoise_pl.rewards.text_features import TextFeatureCache
from hypernoise_pl.system.dtypes import at_least_float32
from hypernoise_pl.types import to_uint8

if TYPE_CHECKING:
    from PIL.Image import Image

TEMPLATES = ("a photo of a {colour} {name}", "a photo of a {colour}-colored {name}", "a photo of a {colour} object")
BACKGROUND = "#999"  # of pixels outside the object's mask


class ClipColours(KeepsArguments, nn.Module):
    """Zero-shot classifier of object colours, as in GenEval.

    Args:
        model: folder or hub id of a transformers ``CLIPModel``, OpenAI's name of one (GenEval: ``ViT-L/14``), or a
            checkpoint file in open_clip's format.
        tokenizer: folder or hub id of the tokenizer; if left out, that of the model, or LAION's for a checkpoint file.
        architecture: open_clip's name for the architecture of a checkpoint file, or a file of its model config.
        dtype: precision of the network; the original uses float16.
        chunk: objects per evaluation of the network; bounds memory.

    Raises:
        FileNotFoundError: if a folder or file is missing.
        ValueError: if a file is damaged, or the model's activation is not OpenAI's ``quick_gelu``.

    Source: Ghosh et al. 2023 (GenEval), section 3; Radford et al. 2021 for the classifier.
    """

    neutral: ClassVar[tuple[str, ...]] = ("chunk",)

    def __init__(
        self,
        model: str = "openai/clip-vit-large-patch14",
        tokenizer: str | None = None,
        architecture: str = "ViT-L-14-quickgelu",
        dtype: Precision = "float32",
        chunk: int = 16,
    ) -> None:
        super().__init__()
        if chunk < 1:
            raise ValueError(f"colours {model}: chunk must be 1 or more, got {chunk}")
        clip = load_clip(model, "colours", architecture)
        for config in (clip.config.text_config, clip.config.vision_config):
            if config.hidden_act != "quick_gelu":
                raise ValueError(
                    f"colours {model}: its activation is {config.hidden_act}; GenEval needs OpenAI's CLIP with "
                    "quick_gelu: another activation gives wrong colours"
                )
        self.tokenizer = load_tokenizer(model, tokenizer, clip)
        self.clip = freeze(clip, dtype)
        self.texts = TextFeatureCache(self._encode_text)
        self.model, self.chunk = model, chunk

    def display_name(self) -> str:
        """Name of the model, for tables."""
        return f"CLIP {self.model}"

    @torch.no_grad()
    def forward(self, objects: Sequence[tuple[Tensor, DetectedObject]]) -> list[str]:
        """Classify colours.

        Args:
            objects: images [3, H, W] in [0, 1], each with a detected object.

        Returns:
            Each object's colour, one of ``COLOURS``.
        """
        colours: list[str] = []
        for start in range(0, len(objects), self.chunk):
            part = objects[start : start + self.chunk]
            side = self.clip.config.vision_config.image_size
            pixels = torch.cat([_square(cut_out(image, detected), side) for image, detected in part]).to(
                self.clip.device
            )
            features = F.normalize(
                at_least_float32(clip_features(self.clip.vision_model, self.clip.visual_projection, pixels)), dim=-1
            )
            for row, (_, detected) in zip(features, part, strict=True):
                colours.append(COLOURS[int((self.classifier(detected.detection.name).to(row) @ row).argmax())])
        return colours

    def classifier(self, name: str) -> Tensor:
        """[10, D] unit vectors of the colours for a class: normalised means of their templates' unit vectors."""
        texts = [template.format(colour=colour, name=name) for colour in COLOURS for template in TEMPLATES]
        features = F.normalize(self.texts(texts), dim=-1).view(len(COLOURS), len(TEMPLATES), -1)
        return F.normalize(features.mean(1), dim=-1)

    def _encode_text(self, texts: list[str]) -> Tensor:
        length = self.clip.config.text_config.max_position_embeddings
        tokens = self.tokenizer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        pooled = self.clip.text_model(**tokens.to(self.clip.device)).pooler_output
        return at_least_float32(self.clip.text_projection(pooled))


def cut_out(image: Tensor, detected: DetectedObject) -> Image:
    """Crop an object's box; pixels outside its mask become grey.

    Args:
        image: [3, H, W] in [0, 1].
        detected: object; its box is clipped to the image.
    """
    from PIL import Image

    picture = Image.fromarray(to_uint8(image).numpy())
    if detected.mask is not None:
        mask = Image.fromarray(detected.mask.numpy().astype(np.uint8) * 255)
        picture = Image.composite(picture, Image.new("RGB", picture.size, BACKGROUND), mask)
    ends: list[tuple[int, int]] = []
    for place, size in enumerate(picture.size):
        low = min(max(round(detected.detection.box[place]), 0), size - 1)
        ends.append((low, min(max(round(detected.detection.box[place + 2]), low + 1), size)))
    (left, right), (top, bottom) = ends
    return picture.crop((left, top, right, bottom))


def _square(picture: Image, side: int) -> Tensor:
    """[1, 3, side, side] in [0, 1]: centre crop after Pillow resized the short side."""
    from PIL import Image

    short = min(picture.size)
    picture = picture.resize((side * picture.width // short, side * picture.height // short), Image.Resampling.BICUBIC)
    left, top = (round((length - side) / 2) for length in picture.size)
    pixels = np.array(picture.crop((left, top, left + side, top + side)))
    return torch.from_numpy(pixels).movedim(-1, 0)[None] / 255
