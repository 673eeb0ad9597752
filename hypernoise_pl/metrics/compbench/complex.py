"""T2I-CompBench's judge of complex prompts, the mean of up to three other judges."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from hypernoise_pl.metrics.benchmark import Outcome
from hypernoise_pl.metrics.compbench.category_judge import CategoryJudge
from hypernoise_pl.metrics.compbench.detected_objects import Spatial
from hypernoise_pl.metrics.compbench.parsed_prompts import ParsedPrompts
from hypernoise_pl.metrics.compbench.spatial import Relation, locality_of
from hypernoise_pl.metrics.compbench.whole_image import Attributes, NonSpatial
from hypernoise_pl.metrics.geneval.detector import Detector
from hypernoise_pl.rewards.base import Reward
from hypernoise_pl.rewards.clip import CLIPCosine
from hypernoise_pl.types import Prompt

RELATIONS = ("spatial", "action")  # what a complex prompt has besides attributes


class ParsedSpatial(Spatial):
    """Spatial judge of prompts whose objects come from a file.

    Args:
        detector: object detector.
        names: word of a prompt -> the detector's class name, where they differ.
        parses: parsed prompts.
    """

    def __init__(self, detector: Detector, names: Mapping[str, str], parses: ParsedPrompts) -> None:
        super().__init__(detector, names)
        self.parses = parses

    def relation(self, prompt: Prompt) -> Relation | None:
        """The two objects from the file and the first locality in the prompt."""
        objects = self.parses[prompt.text].objects
        return None if objects is None else Relation(objects[0], locality_of(prompt.text) or "", objects[1])


class Complex(CategoryJudge):
    """Mean of the attribute score, the spatial score, and the CLIP cosine with the prompt without adjectives.

    The key ``relations`` of a prompt's metadata lists which of ``spatial`` and ``action`` apply.

    Args:
        attributes: reward that is a probability for an image and a noun chunk.
        spatial: judge of the positions of the file's objects.
        non_spatial: CLIP model.
        parses: parsed prompts.

    Source: Huang et al. 2023 (T2I-CompBench, arXiv 2307.06350), 3-in-1.
    """

    def __init__(
        self, attributes: Reward, spatial: ParsedSpatial, non_spatial: CLIPCosine, parses: ParsedPrompts
    ) -> None:
        super().__init__()
        self.attributes, self.spatial = Attributes(attributes, parses), spatial
        self.non_spatial, self.parses = NonSpatial(non_spatial), parses

    def missing_metadata(self, prompt: Prompt) -> str | None:
        """The metadata that a prompt lacks: relations and a parsed prompt; None if complete."""
        if not {*prompt.metadata.get("relations", ("none",))} <= {*RELATIONS}:
            return "has no 'relations' in its metadata; read it from a folder that has complex_val_spatial.txt"
        if prompt.text not in self.parses or self.parses[prompt.text].plain is None:
            return "is not in the file of chunks, with its objects and without its adjectives"
        return self.attributes.missing_metadata(prompt)

    def judge(self, images: Tensor, prompts: list[Prompt]) -> list[Outcome]:
        """Outcomes with the figures and reasons of all judges."""
        found: list[dict[str, Outcome]] = [
            {"attributes": outcome} for outcome in self.attributes.judge(images, prompts)
        ]
        for relation in RELATIONS:
            rows = [row for row, prompt in enumerate(prompts) if relation in prompt.metadata["relations"]]
            if rows:
                own = self._related(relation, images[rows], [prompts[row] for row in rows])
                for row, outcome in zip(rows, own, strict=True):
                    found[row][relation] = outcome
        return [_joined(parts) for parts in found]

    def _related(self, relation: str, images: Tensor, prompts: list[Prompt]) -> list[Outcome]:
        if relation == "spatial":
            return self.spatial.judge(images, prompts)
        plain = [self.parses[prompt.text].plain or "" for prompt in prompts]
        return [Outcome(value) for value in self.non_spatial.cosines(images, plain)]


def _joined(parts: dict[str, Outcome]) -> Outcome:
    values = [outcome.value for outcome in parts.values()]
    reasons = "; ".join(outcome.reason for outcome in parts.values() if outcome.reason)
    details = {name: (None if o.value != o.value else o.value) for name, o in parts.items()}
    return Outcome(sum(values) / len(values), reasons, details=details)
