"""T2I-CompBench's judges on detections: spatial relations and numeracy."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import nan

from torch import Tensor

from hypernoise_pl.metrics.benchmark import Outcome
from hypernoise_pl.metrics.compbench.category_judge import CategoryJudge
from hypernoise_pl.metrics.compbench.chunks import words
from hypernoise_pl.metrics.compbench.detections import class_of, select_detections
from hypernoise_pl.metrics.compbench.numeracy import count_score, counted_objects, remove_duplicates
from hypernoise_pl.metrics.compbench.spatial import Relation, position, relation_of, spatial_score
from hypernoise_pl.metrics.geneval.detector import Detector
from hypernoise_pl.metrics.geneval.rules import Detection
from hypernoise_pl.types import Prompt


class DetectionJudge(CategoryJudge):
    """Judges images by their detections.

    Args:
        detector: object detector.
        names: word of a prompt -> the detector's class name, where they differ.
    """

    def __init__(self, detector: Detector, names: Mapping[str, str]) -> None:
        super().__init__()
        self.detector, self.names = detector, dict(names)

    def unknown(self, word: str) -> bool:
        """Whether the detector has no class for a word."""
        return class_of(word, self.detector.classes, self.names) is None

    def name(self, word: str) -> str:
        """The detector's class for a word; the word itself if it has none."""
        return class_of(word, self.detector.classes, self.names) or word

    def judge(self, images: Tensor, prompts: list[Prompt]) -> list[Outcome]:
        """Outcomes of the images; NaN for a prompt with an object of an unknown class."""
        unknown = [[word for word in self.objects(prompt) if self.unknown(word)] for prompt in prompts]
        rows = [row for row, own in enumerate(unknown) if not own]
        found = dict(zip(rows, self.detector.detect(images[rows]) if rows else (), strict=True))
        height, width = images.shape[-2:]
        return [
            self.outcome(select_detections(found[row], height, width), prompt)
            if row in found
            else Outcome(nan, f"not judged: the detector does not know {', '.join(dict.fromkeys(unknown[row]))}")
            for row, prompt in enumerate(prompts)
        ]

    @abstractmethod
    def objects(self, prompt: Prompt) -> list[str]:
        """Objects of a prompt, as words."""

    @abstractmethod
    def outcome(self, detections: Sequence[Detection], prompt: Prompt) -> Outcome:
        """Outcome of an image from its detections, most confident first."""


class Spatial(DetectionJudge):
    """Score of the positions and confidences of two objects."""

    def missing_metadata(self, prompt: Prompt) -> str | None:
        """The relation of two objects that a prompt lacks; None if it has one."""
        return None if relation_of(prompt.text) else "has no relation of the form 'a dog on the left of a cup'"

    def relation(self, prompt: Prompt) -> Relation | None:
        """The prompt's relation of two objects; None if there is none."""
        return relation_of(prompt.text)

    def objects(self, prompt: Prompt) -> list[str]:
        """The two objects of the relation."""
        relation = self.relation(prompt)
        return [] if relation is None else [relation.one, relation.other]

    def outcome(self, detections: Sequence[Detection], prompt: Prompt) -> Outcome:
        """Spatial score; the reason names missing objects or the score of the position."""
        relation = self.relation(prompt)
        if relation is None:
            return Outcome(0.0, "the prompt has no relation of two objects")
        named = replace(relation, one=self.name(relation.one), other=self.name(relation.other))
        boxes = {found.name: found.box for found in reversed(detections)}
        missing = [name for name in dict.fromkeys((named.one, named.other)) if name not in boxes]
        if missing:
            reason = f"no {' and no '.join(missing)} found"
        else:
            fits = position(named.locality, boxes[named.one], boxes[named.other])
            reason = "" if fits == 1 else f"{relation.one} {relation.locality} {relation.other}: {fits:.2f}"
        return Outcome(spatial_score(detections, named), reason)


class Numeracy(DetectionJudge):
    """Score of the presence and the number of the prompt's objects."""

    def missing_metadata(self, prompt: Prompt) -> str | None:
        """The counted objects that a prompt lacks; None if it has some."""
        return None if self.objects(prompt) else "has no object of the benchmark with a number before it"

    def objects(self, prompt: Prompt) -> list[str]:
        """Objects that follow a number."""
        return [word for word, _ in self._counted(prompt)]

    def outcome(self, detections: Sequence[Detection], prompt: Prompt) -> Outcome:
        """Numeracy score; the reason lists wrong numbers."""
        wanted = [(self.name(word), number) for word, number in self._counted(prompt)]
        names = [detection.name for detection in remove_duplicates(detections)]
        wrong = [f"{name}: expected {number}, found {names.count(name)}" for name, number in wanted]
        wrong = [line for line, (name, number) in zip(wrong, wanted, strict=True) if names.count(name) != number]
        value = count_score(names, wanted)
        return Outcome(value, "" if value == 1 else "; ".join(wrong))

    def _counted(self, prompt: Prompt) -> list[tuple[str, int]]:
        plurals: dict[str, str] = words()["objects"]
        return counted_objects(
            prompt.text, {name: name for name in plurals} | {many: one for one, many in plurals.items()}
        )
