"""T2I-CompBench: attribute binding, spatial relations, numeracy and actions."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn

from hypernoise_pl.metrics.benchmark import Benchmark, Outcome, ScoredImage
from hypernoise_pl.metrics.compbench.category_judge import CategoryJudge
from hypernoise_pl.metrics.compbench.complex import Complex, ParsedSpatial
from hypernoise_pl.metrics.compbench.detected_objects import Numeracy, Spatial
from hypernoise_pl.metrics.compbench.images import CompBenchImages
from hypernoise_pl.metrics.compbench.parsed_prompts import read_parses
from hypernoise_pl.metrics.compbench.results import result_files
from hypernoise_pl.metrics.compbench.validation_prompts import CATEGORIES, categories_in, read_categories
from hypernoise_pl.metrics.compbench.whole_image import Attributes, NonSpatial
from hypernoise_pl.metrics.geneval.detector import Detector
from hypernoise_pl.metrics.image_files import ImageFolder
from hypernoise_pl.rewards.base import Reward
from hypernoise_pl.rewards.clip import CLIPCosine
from hypernoise_pl.types import Prompt, did_you_mean

NEEDS = {  # category -> options that judge it
    "color": ("attributes",),
    "shape": ("attributes",),
    "texture": ("attributes",),
    "spatial": ("detector",),
    "numeracy": ("detector",),
    "non_spatial": ("non_spatial",),
    "complex": ("attributes", "detector", "non_spatial", "chunks"),
}


class T2ICompBench(Benchmark):
    """T2I-CompBench's categories, each with its own judge; a prompt's tag is its category.

    - ``color``, ``shape``, ``texture``: the product over a prompt's noun chunks of the probability that the image
      shows the chunk, as BLIP answers.
    - ``spatial``: a quarter of each object's confidence plus half of the score of their position, 0 to 1.
    - ``numeracy``: the mean over objects of 1/2 for presence plus 1/2 for the correct number.
    - ``non_spatial``: the CLIP cosine of image and prompt, about 0.2 to 0.35.
    - ``complex``: the mean of the categories that apply to a prompt.

    ``3d_spatial`` is not supported. Categories without their options are not read from a folder; a line lists them.

    Args:
        attributes: reward that is a probability; the original asks ``Salesforce/blip-vqa-capfilt-large`` the question
            ``{prompt}?`` and compares ``yes`` with ``no``.
        detector: object detector; the original uses UniDet. Prompts with an object of an unknown class have no figure.
        non_spatial: CLIP model; the original uses ViT-B/32.
        categories: categories to read and score; None for all with their options.
        chunks: JSON file of spaCy's noun chunks, as ``read_parses`` describes; None for the rules of ``noun_chunks``.
            Required for ``complex``.
        names: word of a prompt -> the detector's class name, where they differ.

    Raises:
        FileNotFoundError: if the file of chunks is missing.
        ValueError: if there is no judge, a category is unknown or lacks an option, the file of chunks is invalid, or a
            name is not a class of the detector.

    Source: Huang et al. 2023 (T2I-CompBench, arXiv 2307.06350) and 2025 (T2I-CompBench++).
    """

    title = "T2I-CompBench"
    folder: ClassVar[ImageFolder] = CompBenchImages()
    caveat: ClassVar[str] = (
        "Spatial and numeracy are approximations: the original's detector is UniDet with 722 classes, and prompts with "
        "an object that this one does not know are left out. Noun chunks follow from rules unless a file has spaCy's."
    )

    def __init__(
        self,
        attributes: Reward | None = None,
        detector: Detector | None = None,
        non_spatial: CLIPCosine | None = None,
        categories: Sequence[str] | None = None,
        chunks: str | None = None,
        names: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.absent = _absent(
            {"attributes": attributes, "detector": detector, "non_spatial": non_spatial, "chunks": chunks}
        )
        if all(self.absent.values()):
            raise ValueError("T2I-CompBench: no judge; give attributes, detector or non_spatial")
        for category in categories or ():
            if category not in CATEGORIES:
                raise ValueError(f"T2I-CompBench: no category {category!r}{did_you_mean(category, CATEGORIES)}")
            if (lack := _lack(category, self.absent)) is not None:
                raise ValueError(f"T2I-CompBench: category {category!r} {lack}")
        for name in (names or {}).values():
            if detector is not None and name not in detector.classes:
                raise ValueError(
                    f"T2I-CompBench: the detector has no class {name!r}{did_you_mean(name, detector.classes)}"
                )
        self.parts = nn.ModuleDict(_parts(attributes, detector, non_spatial, chunks, names or {}))

    def missing_metadata(self, prompt: Prompt) -> str | None:
        """The missing part of a prompt: a category of the options as tag, or its metadata; None if it is complete."""
        if prompt.tag not in CATEGORIES:
            return f"has no category as its tag, but {prompt.tag!r}{did_you_mean(prompt.tag, CATEGORIES)}"
        if (lack := _lack(prompt.tag, self.absent)) is not None:
            return f"is of the category {prompt.tag!r}, which {lack}"
        return self._part(prompt.tag).missing_metadata(prompt)

    def missing(self) -> str | None:
        """The first missing requirement of the reward or the CLIP model; None if there is none."""
        judges = (self.arguments.get(name) for name in ("attributes", "non_spatial"))
        return next((lack for judge in judges if judge is not None and (lack := judge.missing()) is not None), None)

    def judged_by(self) -> str:
        """Names of the judges, including the detector in place of UniDet."""
        said = {"attributes": "attributes", "detector": "spatial and numeracy, in place of UniDet"}
        given = {name: self.arguments.get(name) for name in ("attributes", "detector", "non_spatial")}
        return "; ".join(f"{said.get(name, name)}: {_named(part)}" for name, part in given.items() if part is not None)

    @classmethod
    def read(cls, file: Path, **options: Any) -> list[Prompt]:
        """Read the validation prompts of a folder or file; a line lists the categories left out and the reasons.

        Args:
            file: folder of the benchmark's text files, or one of them, such as ``color_val.txt``; or any prompt file
                whose tags are categories.
            **options: options from the benchmark's configuration; a category is read if its options are given.

        Raises:
            FileNotFoundError: if it is missing or has no validation prompts.
            ValueError: if a file is invalid or has training prompts, or no category can be judged.
        """
        asked, absent = options.get("categories"), _absent(options)
        left_out: dict[str, str] = {}
        there = categories_in(file)
        for name in there:
            lack = _lack(name, absent) if asked is None or name in asked else "is not asked for"
            if lack is not None:
                left_out[name] = lack
        said = "; ".join(f"{name} {lack}" for name, lack in left_out.items())
        if there and len(left_out) == len(there):
            raise ValueError(f"T2I-CompBench {file}: no category can be judged: {said}")
        if left_out:
            _say(said)
        found = read_categories(file, [name for name in asked or there if name not in left_out])
        return [prompt for prompt in found if asked is None or prompt.tag in asked]

    def results(self, scored: Sequence[ScoredImage]) -> dict[str, str]:
        """``vqa_result.json`` of each category at the path of the original tools."""
        return result_files(scored)

    def _outcomes(self, images: Tensor, prompts: list[Prompt]) -> list[Outcome]:
        found: dict[int, Outcome] = {}
        for category in dict.fromkeys(prompt.tag for prompt in prompts):
            rows = [row for row, prompt in enumerate(prompts) if prompt.tag == category]
            own = self._part(category).judge(images[rows], [prompts[row] for row in rows])
            found |= dict(zip(rows, own, strict=True))
        return [found[row] for row in range(len(prompts))]

    def _part(self, category: str) -> CategoryJudge:
        part = self.parts[category]
        assert isinstance(part, CategoryJudge)
        return part


def _absent(options: Mapping[str, Any]) -> dict[str, list[str]]:
    """Category -> required options that are not given."""
    return {category: [name for name in needs if options.get(name) is None] for category, needs in NEEDS.items()}


def _lack(category: str, absent: Mapping[str, list[str]]) -> str | None:
    """Reason why a category cannot be judged; None if it can."""
    if category not in absent:
        return "is not judged: it needs the depth of an image" if category in CATEGORIES else "is unknown"
    return f"needs {' and '.join(absent[category])}" if absent[category] else None


def _parts(
    attributes: Reward | None,
    detector: Detector | None,
    non_spatial: CLIPCosine | None,
    chunks: str | None,
    names: dict[str, str],
) -> dict[str, CategoryJudge]:
    parses, parts = read_parses(chunks), dict[str, CategoryJudge]()
    if attributes is not None:
        parts |= dict.fromkeys(("color", "shape", "texture"), Attributes(attributes, parses))
    if detector is not None:
        parts |= {"spatial": Spatial(detector, names), "numeracy": Numeracy(detector, names)}
    if non_spatial is not None:
        parts["non_spatial"] = NonSpatial(non_spatial)
    if attributes is not None and detector is not None and non_spatial is not None and chunks is not None:
        parts["complex"] = Complex(attributes, ParsedSpatial(detector, names, parses), non_spatial, parses)
    return parts


def _named(part: object) -> str:
    """Display name of a detector; class and model of another judge."""
    if isinstance(part, Detector):
        return part.display_name()
    model = getattr(part, "arguments", {}).get("model", "")
    return f"{type(part).__name__} {model}".strip()


@rank_zero_only
def _say(left_out: str) -> None:
    print(f"T2I-CompBench: left out: {left_out}", file=sys.stderr)
