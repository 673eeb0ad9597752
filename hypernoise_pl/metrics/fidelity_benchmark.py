"""Images as features, for figures that are of a set of images and not of each."""

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
    """Any folder: every image in it and below. Images of one ``00000/samples`` are of one prompt, others each alone."""

    needs_prompts = False

    def name(self, prompt: Prompt, number: int) -> str:
        """``00000-0.png``."""
        return f"{prompt.index:05}-{number}.png"

    def find(self, folder: Path, prompts: Sequence[Prompt]) -> list[ImageFile]:
        """Every image, in the order of names."""
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
        features: encoder of images, on whose features all figures are computed.
    """

    title = "Fidelity and diversity"
    folder: ClassVar[ImageFolder] = AnyImages()
    caveat: ClassVar[str] = "Figures of other features, or of another number of images, are not comparable."

    def __init__(self, features: ImageFeatures) -> None:
        super().__init__()
        self.features = features

    def judged_by(self) -> str:
        """The encoder, and its model where it has one."""
        return f"{type(self.features).__name__} {self.features.arguments.get('model', '')}".strip()

    def _outcomes(self, images: Tensor, prompts: list[Prompt]) -> list[Outcome]:
        return [Outcome(float("nan"), details={"features": row}) for row in self.features(images).tolist()]
