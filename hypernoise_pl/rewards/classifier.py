"""An image classifier as a reward: how much the picture looks like the class that its prompt names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from hypernoise_pl.checkpoints.loading import load_pretrained_strict
from hypernoise_pl.rewards.base import Reward
from hypernoise_pl.rewards.preprocess import load_preprocessing
from hypernoise_pl.types import nearest


class ImageClassifier(Reward):
    """The logit of the class that the prompt names, by any image classifier of transformers.

    A prompt is a class's label, or one name of a label that lists several between commas, as ImageNet's do (``tench``
    for ``tench, Tinca tinca``), in capitals or not.

    Args:
        model: folder or hub id that ``AutoModelForImageClassification`` loads, with its ``preprocessor_config.json``,
            for example ``facebook/dinov2-base-imagenet1k-1-layer``.
        log_probability: score the log of the class's probability instead: it weighs the other classes too, and is at
            most 0.
        attention: transformers' ``attn_implementation``; its own choice if left out.

    Source: Ma et al. 2025, the oracle verifiers of class-conditional generation (classification logits).
    """

    score_range: ClassVar[tuple[float, float]] = (-10.0, 20.0)

    def __init__(self, model: str, log_probability: bool = False, attention: str | None = None) -> None:
        super().__init__()
        from transformers import AutoModelForImageClassification

        classifier = load_pretrained_strict(
            AutoModelForImageClassification, model, "reward", attn_implementation=attention
        )
        self.classifier = classifier.eval().requires_grad_(False)
        self.preprocess = load_preprocessing(model, "reward")
        self.log_probability = log_probability
        self.names = class_names(classifier.config.id2label)

    def _score(self, images: Tensor, prompts: list[str]) -> Tensor:
        wanted = torch.tensor([self._class(prompt) for prompt in prompts], device=images.device)
        logits: Tensor = self.classifier(pixel_values=self.preprocess(images)).logits
        scores = logits.log_softmax(-1) if self.log_probability else logits
        return scores.gather(1, wanted[:, None])[:, 0]

    def _class(self, prompt: str) -> int:
        found = self.names.get(_plain(prompt), [])
        if len(found) == 1:
            return found[0]
        if not found:
            raise ValueError(f"reward: the classifier has no class {prompt!r}{nearest(_plain(prompt), self.names)}")
        labels = ", ".join(f"{number} ({self.classifier.config.id2label[number]})" for number in found)
        raise ValueError(f"reward: {prompt!r} names several classes: {labels}; write a label that only one has")


def class_names(labels: Mapping[int, str]) -> dict[str, list[int]]:
    """Every name in small letters -> the classes it may mean: a whole label goes before one name out of a list."""
    whole: dict[str, list[int]] = {}
    parts: dict[str, list[int]] = {}
    for number, label in labels.items():
        whole.setdefault(_plain(label), []).append(int(number))
        for part in dict.fromkeys(map(_plain, label.split(","))):
            parts.setdefault(part, []).append(int(number))
    return {**parts, **whole}


def _plain(name: str) -> str:
    return " ".join(name.lower().split())
