"""What a benchmark is: prompts, what is asked of their images, and a figure for each image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hypernoise_pl.config.arguments import KeepsArguments
from hypernoise_pl.data.prompt_reader import read_prompts
from hypernoise_pl.metrics.image_files import GenEvalFolder, ImageFile, ImageFolder
from hypernoise_pl.metrics.intervals import estimate, with_tags
from hypernoise_pl.metrics.prompt_metadata import check_prompt_metadata
from hypernoise_pl.types import Prompt, check_images


@dataclass(frozen=True)
class Outcome:
    """What a benchmark says of one image.

    Args:
        value: the image's figure, higher is better; NaN where there is none.
        reason: what is wrong with the image, in words; empty if nothing is.
        figures: name -> a further figure of the image, such as a skill's; a name that an image lacks is left out.
        details: what the benchmark's own result file has of the image, as JSON has it.
    """

    value: float
    reason: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ScoredImage:
    """One image with its outcome.

    Args:
        image: its file.
        prompt: that it was made from.
        outcome: what the benchmark says of it.
    """

    image: ImageFile
    prompt: Prompt
    outcome: Outcome


class Benchmark(KeepsArguments, nn.Module, ABC):
    """Gives every image a figure; the benchmark's score is the mean over tags.

    Attributes:
        title: name of the benchmark, as tables have it.
        folder: where the benchmark's original tools look for images, and how many of a prompt there are; where options
            decide on it, ``layout`` says it.
        caveat: a sentence that stands below every table; empty for none.
        binary: whether every value is a verdict, 1 or 0.
    """

    neutral: ClassVar[tuple[str, ...]] = ()
    title: str
    folder: ClassVar[ImageFolder] = GenEvalFolder()
    caveat: ClassVar[str] = ""
    binary: ClassVar[bool] = False

    @torch.no_grad()
    def forward(self, images: Tensor, prompts: Sequence[Prompt]) -> list[Outcome]:
        """Score images.

        Args:
            images: [B, 3, H, W] in [0, 1].
            prompts: B prompts with the metadata this benchmark reads.

        Returns:
            B outcomes.

        Raises:
            ValueError: if the shapes do not fit, images are bytes or not in [0, 1], a prompt lacks metadata, or there
                is not one outcome an image.
        """
        check_images(images, len(prompts))
        self.check(prompts)
        if not len(images):
            return []
        outcomes = self._outcomes(images, list(prompts))
        if len(outcomes) != len(prompts):
            raise ValueError(f"{type(self).__name__} gave {len(outcomes)} outcomes for {len(prompts)} images")
        return outcomes

    def check(self, prompts: Sequence[Prompt]) -> None:
        """Check, before any image is made or read, that these prompts can be scored.

        Raises:
            ValueError: if one cannot: how many, the first of them, and what it lacks.
        """
        check_prompt_metadata(f"{type(self).__name__} cannot score", prompts, self.missing_metadata)

    def missing_metadata(self, prompt: Prompt) -> str | None:
        """What a prompt's metadata lacks for this benchmark, as "has no ..."; None if nothing."""
        return None

    def missing(self) -> str | None:
        """What must be there before it can score, in words; None if nothing is missing."""
        return None

    def judged_by(self) -> str:
        """What gives the figures, in words: models by their names."""
        return type(self).__name__

    @classmethod
    def layout(cls, **options: Any) -> ImageFolder:
        """Where images lie, of the benchmark with these options of its configuration; ``folder`` by default."""
        return cls.folder

    @classmethod
    def read(cls, file: Path, **options: Any) -> list[Prompt]:
        """The prompts of the benchmark's own file or folder, each with its place as index.

        Args:
            file: of the prompts.
            **options: the benchmark's own, as its configuration has them; most benchmarks need none.

        Raises:
            FileNotFoundError: if it is missing.
            ValueError: if it is damaged or of another format; with the line.
        """
        return read_prompts(file)

    def results(self, scored: Sequence[ScoredImage]) -> dict[str, str]:
        """File name -> text: the result files that the benchmark's original tools write; none by default."""
        return {}

    @abstractmethod
    def _outcomes(self, images: Tensor, prompts: list[Prompt]) -> list[Outcome]: ...


def summarise_outcomes(outcomes: Sequence[Outcome], prompts: Sequence[Prompt]) -> dict[str, dict[str, Any]]:
    """The means of outcomes, with their 95 % intervals over prompts.

    Args:
        outcomes: M.
        prompts: of the M images.

    Returns:
        Name -> ``mean`` (over tags; None without an image), ``interval`` (None where a tag has a single prompt),
        ``images``, ``prompts``, ``left_out`` (images without this figure), and ``tags``, each one's mean. The first
        name is ``score``, of the outcomes' values; the further figures follow, and each is of the images that have it.
    """
    names = dict.fromkeys(name for outcome in outcomes for name in outcome.figures)
    values = {"score": [outcome.value for outcome in outcomes]}
    values |= {name: [outcome.figures.get(name, float("nan")) for outcome in outcomes] for name in names}
    return {name: _figure(torch.tensor(own, dtype=torch.float64), prompts) for name, own in values.items()}


def _figure(values: Tensor, prompts: Sequence[Prompt]) -> dict[str, Any]:
    rows = (~values.isnan()).nonzero().flatten().tolist()
    own, values = [prompts[row] for row in rows], values[rows]
    places, tags = [prompt.index for prompt in own], [prompt.tag for prompt in own]
    found = estimate(values, places, tags)
    return {
        "mean": found.mean if rows else None,
        "interval": found.interval,
        "images": len(rows),
        "prompts": len({*places}),
        "left_out": len(prompts) - len(rows),
        "tags": {tag: mean for tag, mean in with_tags(values, tags).items() if tag != "mean"} if rows else {},
    }
