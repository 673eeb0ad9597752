"""Fidelity and diversity as a benchmark: it encodes each image; the figures are of the whole set."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from hypernoise_pl.metrics.benchmark import Benchmark, Outcome
from hypernoise_pl.metrics.image_files import ImageFile, ImageFolder
from hypernoise_pl.rewards.features import ImageFeatures
from hypernoise_pl.types import Prompt

ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


class AnyImages(ImageFolder):
    """Any folder of images, subfolders included. Images in ``00000/samples`` share a prompt; others have their own."""

    needs_prompts = False

    def name(self, prompt: Prompt, number: int) -> str:
        """Path of an image: ``00000-0.png``."""
        return f"{prompt.index:05}-{number}.png"

    def find(self, folder: Path, prompts: Sequence[Prompt]) -> list[ImageFile]:
        """All images in the order of their names."""
        files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in ENDINGS and file.is_file())
        names = [file.relative_to(folder).as_posix() for file in files]
        groups = [match[0] if (match := re.match(r"(?:.*/)?\d+/samples/", name)) else name for name in names]
        places = {group: place for place, group in enumerate(dict.fromkeys(groups))}
        counts: dict[str, int] = {}
        found = []
        for file, name, group in zip(files, names, groups):
            number = counts[group] = counts.get(group, -1) + 1
            found.append(ImageFile(file, Prompt(group, index=places[group]), number, name))
        return found


class FidelityBenchmark(Benchmark):
    """FID, KID, CMMD, precision and recall against other images, and the diversity of each prompt's images.

    Args:
        features: image encoder whose features all figures use.
    """

    title = "Fidelity and diversity"
    folder: ClassVar[ImageFolder] = AnyImages()
    caveat: ClassVar[str] = "Figures with another encoder or another number of images are not comparable."

    def __init__(self, features: ImageFeatures) -> None:
        super().__init__()
        self.features = features

    def judged_by(self) -> str:
        """Name of the encoder and of its model."""
        return f"{type(self.features).__name__} {self.features.arguments.get('model', '')}".strip()

    def _outcomes(self, images: Tensor, prompts: list[Prompt]) -> list[Outcome]:
        return [Outcome(float("nan"), details={"features": row}) for row in self.features(images).tolist()]
