"""The contract of benchmarks: prompts, and a figure for each of their images."""

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
    """The result of a benchmark for one image.

    Args:
        value: figure of the image, higher is better; NaN if there is none.
        reason: error in the image, in words; empty for a correct image.
        figures: name -> further figure of the image, such as a skill; missing figures are left out.
        details: entry of the benchmark's own result file, as JSON values.
    """

    value: float
    reason: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ScoredImage:
    """One image with its outcome.

    Args:
        image: file of the image.
        prompt: prompt of the image.
        outcome: result of the benchmark.
    """

    image: ImageFile
    prompt: Prompt
    outcome: Outcome


class Benchmark(KeepsArguments, nn.Module, ABC):
    """Scores every image; the score of the benchmark is the mean over tags.

    Attributes:
        title: name of the benchmark in tables.
        folder: layout of the image folder that the original tools read; ``layout`` if it depends on options.
        caveat: sentence below every table; empty for none.
        binary: whether every value is 1 or 0.
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
            prompts: B prompts with this benchmark's metadata.

        Returns:
            B outcomes.

        Raises:
            ValueError: if the shapes do not match, images are bytes or not in [0, 1], a prompt lacks metadata, or the
                number of outcomes differs.
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
        """Check, before any image is generated or read, that these prompts have the required metadata.

        Raises:
            ValueError: with the number of prompts that lack metadata, the first of them and its missing metadata.
        """
        check_prompt_metadata(f"{type(self).__name__} cannot score", prompts, self.missing_metadata)

    def missing_metadata(self, prompt: Prompt) -> str | None:
        """The metadata that a prompt lacks, as "has no ..."; None if it is complete."""
        return None

    def missing(self) -> str | None:
        """The first requirement that is missing, in words; None if the benchmark can score."""
        return None

    def judged_by(self) -> str:
        """Names of the models that give the figures."""
        return type(self).__name__

    @classmethod
    def layout(cls, **options: Any) -> ImageFolder:
        """Layout of the image folder for these options; ``folder`` by default."""
        return cls.folder

    @classmethod
    def read(cls, file: Path, **options: Any) -> list[Prompt]:
        """Read the prompts of the benchmark's own file or folder; the index is the position.

        Args:
            file: file or folder of the prompts.
            **options: options from the benchmark's configuration; most benchmarks need none.

        Raises:
            FileNotFoundError: if it is missing.
            ValueError: if it is damaged or has another format; with the line number.
        """
        return read_prompts(file)

    def results(self, scored: Sequence[ScoredImage]) -> dict[str, str]:
        """File name -> text of the result files of the original tools; none by default."""
        return {}

    @abstractmethod
    def _outcomes(self, images: Tensor, prompts: list[Prompt]) -> list[Outcome]: ...


def summarise_outcomes(outcomes: Sequence[Outcome], prompts: Sequence[Prompt]) -> dict[str, dict[str, Any]]:
    """Means over tags of all figures, with 95 % bootstrap intervals over prompts.

    Args:
        outcomes: M outcomes.
        prompts: prompts of the M images.

    Returns:
        Name -> ``mean`` (None without an image), ``interval`` (None if a tag has a single prompt), ``images``,
        ``prompts``, ``left_out`` (images without this figure) and ``tags`` (mean of each tag). The first name is
        ``score``, of the outcomes' values; further figures follow.
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
