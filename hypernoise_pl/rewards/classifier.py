"""An image classifier as a reward: the logit of the class that the prompt names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from hypernoise_pl.checkpoints.loading import load_pretrained_strict
from hypernoise_pl.rewards.base import Reward
from hypernoise_pl.rewards.preprocess import load_preprocessing
from hypernoise_pl.types import did_you_mean


class ImageClassifier(Reward):
    """Logit of the class that the prompt names, by an image classifier of transformers.

    A prompt is a class label, or one of the comma-separated names of a label (``tench`` for ImageNet's
    ``tench, Tinca tinca``), in any letter case.

    Args:
        model: folder or hub id for ``AutoModelForImageClassification``, with ``preprocessor_config.json``; for example
            ``facebook/dinov2-base-imagenet1k-1-layer``.
        log_probability: score the logarithm of the class probability, at most 0, which depends on the other classes
            too.
        attention: transformers' ``attn_implementation``; transformers' default if left out.

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
        classes = torch.tensor([self._class(prompt) for prompt in prompts], device=images.device)
        logits: Tensor = self.classifier(pixel_values=self.preprocess(images)).logits
        scores = logits.log_softmax(-1) if self.log_probability else logits
        return scores.gather(1, classes[:, None])[:, 0]

    def _class(self, prompt: str) -> int:
        classes = self.names.get(_normalise(prompt), [])
        if len(classes) == 1:
            return classes[0]
        if not classes:
            raise ValueError(
                f"reward: the classifier has no class {prompt!r}{did_you_mean(_normalise(prompt), self.names)}"
            )
        labels = ", ".join(f"{number} ({self.classifier.config.id2label[number]})" for number in classes)
        raise ValueError(f"reward: {prompt!r} names several classes: {labels}; give the complete label of one")


def class_names(labels: Mapping[int, str]) -> dict[str, list[int]]:
    """Lower-case name -> classes of that name; a complete label takes precedence over one name of a list."""
    whole: dict[str, list[int]] = {}
    parts: dict[str, list[int]] = {}
    for number, label in labels.items():
        whole.setdefault(_normalise(label), []).append(int(number))
        for part in dict.fromkeys(map(_normalise, label.split(","))):
            parts.setdefault(part, []).append(int(number))
    return {**parts, **whole}


def _normalise(name: str) -> str:
    return " ".join(name.lower().split())
