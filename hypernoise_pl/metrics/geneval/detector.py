"""Object detectors for GenEval: the contract, and Mask2Former with the original's pre- and postprocessing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypernoise_pl.checkpoints.conversion import ENDINGS
from hypernoise_pl.checkpoints.loading import load_pretrained_strict
from hypernoise_pl.config.arguments import KeepsArguments
from hypernoise_pl.metrics.geneval.classes import COCO_NAMES, class_names
from hypernoise_pl.metrics.geneval.mask2former_keys import load_mmdet, original_of
from hypernoise_pl.metrics.geneval.resize import resize_bilinear
from hypernoise_pl.metrics.geneval.rules import THRESHOLD, Detection
from hypernoise_pl.rewards.frozen_network import Precision, freeze
from hypernoise_pl.types import check_images

LONG, SHORT = 1333, 800  # largest sides of the network's input in pixels
STEP = 32  # the input's sides are multiples of it
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of red, green and blue in 0 to 255
PAD = 128.0  # value of the padding right of and below the image, in 0 to 255
MOST = 100  # most probable pairs of query and class that are kept


@dataclass(frozen=True)
class DetectedObject:
    """One detected object.

    Args:
        detection: class, box and confidence.
        mask: [H, W] boolean mask on the CPU; None from a detector without masks.
    """

    detection: Detection
    mask: Tensor | None = None


class Detector(KeepsArguments, nn.Module, ABC):
    """Detects objects of GenEval's classes.

    Attributes:
        classes: GenEval's names of the classes it detects.
    """

    classes: tuple[str, ...] = class_names()

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[list[DetectedObject]]:
        """Detect objects.

        Args:
            images: [B, 3, H, W] in [0, 1].

        Returns:
            B lists of objects in any order; boxes are in pixels of the images.

        Raises:
            ValueError: if the shape is wrong, images are bytes or not in [0, 1], or the number of lists differs.
        """
        check_images(images, len(images))
        found = self._detect(images) if len(images) else []
        if len(found) != len(images):
            raise ValueError(f"{type(self).__name__} gave {len(found)} lists of objects for {len(images)} images")
        return found

    def detect(self, images: Tensor) -> list[list[Detection]]:
        """Detections in images [B, 3, H, W] in [0, 1], without masks."""
        return [[found.detection for found in own] for own in self(images)]

    @abstractmethod
    def display_name(self) -> str:
        """Name of network and checkpoint, for tables."""

    def title(self) -> str:
        """Title of a table of figures with this detector: ``GenEval`` only for the original."""
        return f"{self.display_name()} (GenEval's procedure)"

    @abstractmethod
    def _detect(self, images: Tensor) -> list[list[DetectedObject]]: ...


class Mask2FormerDetector(Detector):
    """Mask2Former with GenEval's pre- and postprocessing.

    Args:
        model: folder or hub id of transformers' ``Mask2FormerForUniversalSegmentation`` on COCO's 80 classes; or a
            checkpoint file of mmdet; GenEval's own is
            ``mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco_20220504_001756-743b7d99.pth``.
        architecture: folder or hub id with transformers' ``config.json``, for a checkpoint file of another size than
            GenEval's Swin-S.
        threshold: confidence above which an object is detected; GenEval uses 0.3, and 0.9 for counting.
        dtype: precision of the network; confidences and masks are always in float32.
        chunk: images per evaluation of the network; bounds memory.

    Raises:
        FileNotFoundError: if a folder or file is missing.
        ValueError: if a file is damaged, has missing or surplus weights, or has other classes.

    Source: Cheng et al. 2022 (Mask2Former, arXiv 2112.01527); steps: configuration of GenEval's detector in mmdet 2.x.
    """

    neutral: ClassVar[tuple[str, ...]] = ("chunk",)

    def __init__(
        self,
        model: str = "facebook/mask2former-swin-small-coco-instance",
        architecture: str | None = None,
        threshold: float = THRESHOLD,
        dtype: Precision = "float32",
        chunk: int = 4,
    ) -> None:
        super().__init__()
        if not 0 <= threshold < 1 or chunk < 1:
            raise ValueError(
                f"detector {model}: threshold must be in 0 to 1 and chunk 1 or more, got {threshold} and {chunk}"
            )
        self.model, self.threshold, self.chunk = model, threshold, chunk
        self.file = Path(model).suffix in ENDINGS and not Path(model).is_dir()
        network = load_mmdet(model, architecture, "detector") if self.file else _load(model)
        self.original = original_of(Path(model)) if self.file else None
        _check_classes(network.config, model)
        self.network = freeze(network, dtype)

    def display_name(self) -> str:
        """``Mask2Former`` and its checkpoint; GenEval's own is recognised by its SHA-256."""
        if self.original is not None:
            return f"GenEval's own Mask2Former, {self.original}"
        whose = "a file that is not GenEval's own" if self.file else "transformers' weights"
        return f"Mask2Former {Path(self.model).name if self.file else self.model}, {whose}"

    def title(self) -> str:
        """``GenEval`` for its own checkpoint, ``geneval-hf`` for transformers' weights."""
        if self.original is not None:
            return "GenEval"
        return super().title() if self.file else "geneval-hf"

    def _detect(self, images: Tensor) -> list[list[DetectedObject]]:
        return [found for part in images.split(self.chunk) for found in self._run_network(part)]

    def _run_network(self, images: Tensor) -> list[list[DetectedObject]]:
        pixels, inner = preprocess(images)
        classes, masks = self.network(pixels.to(self.network.dtype))
        size, padded = images.shape[-2:], pixels.shape[-2:]
        return [
            self._objects(scores.float(), logits.float(), padded, inner, size)
            for scores, logits in zip(classes, masks, strict=True)
        ]

    def _objects(
        self, logits: Tensor, masks: Tensor, padded: torch.Size, inner: tuple[int, int], size: torch.Size
    ) -> list[DetectedObject]:
        """Objects in one image, from the queries' class logits [Q, C + 1] and mask logits [Q, h, w]."""
        probable = logits.softmax(-1)[:, :-1]
        scores, places = probable.flatten().topk(min(MOST, probable.numel()))
        # the confidence is at most the class probability, so only masks of probable queries are enlarged
        scores, places = scores[scores > self.threshold], places[scores > self.threshold]
        queries, rows = (places // probable.shape[1]).unique(return_inverse=True)
        if not len(queries):
            return []
        enlarged = F.interpolate(masks[queries, None], padded, mode="bilinear", align_corners=False)
        enlarged = enlarged[..., : inner[0], : inner[1]]
        enlarged = F.interpolate(enlarged, size, mode="bilinear", align_corners=False)[:, 0]
        inside = enlarged > 0
        area = inside.flatten(1).sum(1)
        scores = scores * ((enlarged.sigmoid() * inside).flatten(1).sum(1) / (area + 1e-6))[rows]
        boxes, inside = _boxes(inside).tolist(), inside.cpu()
        objects = []
        for score, row, label in zip(scores.tolist(), rows.tolist(), (places % probable.shape[1]).tolist()):
            if score > self.threshold:
                left, top, right, bottom = boxes[row]
                detection = Detection(self.classes[label], (left, top, right, bottom), None, score)
                objects.append(DetectedObject(detection, inside[row]))
        return objects


def preprocess(images: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Mmdet's test pipeline: resize with constant aspect ratio, pad to multiples of 32, normalise.

    Args:
        images: [B, 3, H, W] in [0, 1].

    Returns:
        [B, 3, H', W'], and the height and width without padding.
    """
    height, width = images.shape[-2:]
    scale = min(LONG / max(height, width), SHORT / min(height, width))
    inner = max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)
    pixels = (images.float().clamp(0, 1) * 255).round()
    pixels = pixels if inner == (height, width) else resize_bilinear(pixels, inner).float()
    pixels = F.pad(pixels, (0, -inner[1] % STEP, 0, -inner[0] % STEP), value=PAD)
    mean, std = (pixels.new_tensor(values)[:, None, None] for values in (MEAN, STD))
    return (pixels - mean) / std, inner


def _boxes(masks: Tensor) -> Tensor:
    """[K, 4] left, top, right, bottom of masks [K, H, W]; right and bottom are one past the last pixel."""
    sides = []
    for cover in (masks.any(1), masks.any(2)):
        present, size = cover.any(1), cover.shape[1]
        sides += [cover.int().argmax(1) * present, (size - cover.flip(1).int().argmax(1)) * present]
    left, right, top, bottom = sides
    return torch.stack([left, top, right, bottom], 1).float()


def _load(model: str) -> Any:
    from hypernoise_pl.metrics.geneval.mask2former_network import Mask2FormerNetwork

    return load_pretrained_strict(Mask2FormerNetwork, model, "detector")


def _check_classes(config: Any, model: str) -> None:
    names = class_names()
    if config.num_labels != len(names):
        raise ValueError(f"detector {model}: has {config.num_labels} classes; GenEval needs COCO's {len(names)}")
    for place, label in config.id2label.items():
        name = COCO_NAMES.get(label, label)
        if name in names and names.index(name) != int(place):
            raise ValueError(
                f"detector {model}: its class {place} is {label!r}, which is COCO's {names.index(name)}; GenEval needs "
                "COCO's order"
            )
