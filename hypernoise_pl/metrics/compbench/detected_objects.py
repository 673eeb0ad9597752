"""The parts of T2I-CompBench that look at the objects a detector finds: where they stand, and how many there are."""

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
    """Judges by what a detector finds.

    Args:
        detector: of objects.
        names: word of a prompt -> class of the detector, for words that it calls otherwise.
    """

    def __init__(self, detector: Detector, names: Mapping[str, str]) -> None:
        super().__init__()
        self.detector, self.names = detector, dict(names)

    def unknown(self, word: str) -> bool:
        """Whether the detector has no class for a word."""
        return class_of(word, self.detector.classes, self.names) is None

    def name(self, word: str) -> str:
        """The detector's class for a word; the word itself where it has none."""
        return class_of(word, self.detector.classes, self.names) or word

    def judge(self, images: Tensor, prompts: list[Prompt]) -> list[Outcome]:
        """Outcomes; NaN for a prompt with an object that the detector does not know."""
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
        """The words of a prompt that are looked for."""

    @abstractmethod
    def outcome(self, detections: Sequence[Detection], prompt: Prompt) -> Outcome:
        """The outcome of what was found, most confident first."""


class Spatial(DetectionJudge):
    """Where two objects stand, and how sure the detector is of them."""

    def missing_metadata(self, prompt: Prompt) -> str | None:
        """A relation of two objects."""
        return None if relation_of(prompt.text) else "has no relation of the form 'a dog on the left of a cup'"

    def relation(self, prompt: Prompt) -> Relation | None:
        """What a prompt says of two objects; None if nothing."""
        return relation_of(prompt.text)

    def objects(self, prompt: Prompt) -> list[str]:
        """The two."""
        relation = self.relation(prompt)
        return [] if relation is None else [relation.one, relation.other]

    def outcome(self, detections: Sequence[Detection], prompt: Prompt) -> Outcome:
        """The reason names what is missing, or how well the position fits."""
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
    """Which objects there are, and whether there are as many as the prompt says."""

    def missing_metadata(self, prompt: Prompt) -> str | None:
        """Objects with a number."""
        return None if self.objects(prompt) else "has no object of the benchmark with a number before it"

    def objects(self, prompt: Prompt) -> list[str]:
        """Those that a number stands before."""
        return [word for word, _ in self._counted(prompt)]

    def outcome(self, detections: Sequence[Detection], prompt: Prompt) -> Outcome:
        """The reason names what there is too much or too little of."""
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
