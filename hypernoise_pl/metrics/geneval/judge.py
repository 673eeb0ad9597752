"""GenEval's judge: detection of objects, classification of their colours, and rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hypernoise_pl.metrics.geneval.colours import ClipColours
from hypernoise_pl.metrics.geneval.detector import DetectedObject, Detector
from hypernoise_pl.metrics.geneval.results import CAVEAT
from hypernoise_pl.metrics.geneval.rules import (
    COLOURS,
    RELATIONS,
    Detection,
    clause_objects,
    filter_detections,
    verdict,
)
from hypernoise_pl.metrics.judge import Judge, Verdict
from hypernoise_pl.types import Prompt, did_you_mean


@dataclass(frozen=True)
class JudgedImage:
    """Detections in one image and the verdict on it.

    Args:
        detections: detections above the threshold, most confident first; objects of colour clauses have a colour.
        verdict: verdict on the image.
    """

    detections: list[Detection]
    verdict: Verdict


class GenEvalJudge(Judge):
    """GenEval's verdict on each image. The networks move to the device of the images.

    Args:
        detector: object detector.
        colours: classifier of the objects' colours.

    Source: Ghosh et al. 2023 (GenEval, arXiv 2310.11513).
    """

    def __init__(self, detector: Detector, colours: ClipColours) -> None:
        self.detector, self.colours = detector, colours

    def missing_metadata(self, prompt: Prompt) -> str | None:
        """The metadata that a prompt lacks: clauses with known classes, colours and relations; None if complete."""
        lack = super().missing_metadata(prompt)
        if lack is not None:
            return lack
        include, exclude = prompt.metadata["include"], prompt.metadata.get("exclude", [])
        for place, clause in enumerate(include):
            lack = self._unknown(clause) or _misplaced(clause.get("position"), place)
            if lack is not None:
                return lack
        return next((lack for clause in exclude if (lack := self._unknown(clause)) is not None), None)

    def _unknown(self, clause: dict[str, Any]) -> str | None:
        name, colour = clause["class"], clause.get("color", COLOURS[0])
        if name not in self.detector.classes:
            hint = did_you_mean(name, self.detector.classes)
            return f"has a clause of class {name!r}, which {self.detector.display_name()} does not know{hint}"
        if colour not in COLOURS:
            return f"has a clause of color {colour!r}; GenEval knows {', '.join(COLOURS)}"
        return None

    def display_name(self) -> str:
        """Names of the detector and the CLIP model."""
        return f"{self.detector.display_name()}; colours by {self.colours.display_name()}"

    def credit(self) -> str:
        """Title of the figures, names of the networks, and GenEval's caveat."""
        return f"{self.detector.title()} by {self.display_name()}. {CAVEAT}"

    @torch.no_grad()
    def detect(self, images: Tensor, prompts: Sequence[Prompt]) -> list[list[Detection]]:
        """Detections of each image above the threshold.

        Args:
            images: [B, 3, H, W] in [0, 1].
            prompts: B prompts with GenEval's clauses; only objects of colour clauses get a colour.

        Returns:
            B lists, most confident first.
        """
        self.detector.to(images.device)
        self.colours.to(images.device)
        kept: list[list[Detection]] = []
        coloured: list[tuple[int, int, DetectedObject]] = []  # image, position in its list, object
        for row, (prompt, own) in enumerate(zip(prompts, self.detector(images), strict=True)):
            confident = filter_detections([each.detection for each in own], prompt.tag)
            kept.append(confident)
            wanted = _coloured(confident, prompt)
            by_identity = {id(each.detection): each for each in own}
            coloured += [(row, i, by_identity[id(each)]) for i, each in enumerate(confident) if id(each) in wanted]
        names = self.colours([(images[row], detected) for row, _, detected in coloured])
        for (row, place, _), colour in zip(coloured, names, strict=True):
            kept[row][place] = replace(kept[row][place], colour=colour)
        return kept

    def judge_images(self, images: Tensor, prompts: Sequence[Prompt]) -> list[JudgedImage]:
        """Detections in images [B, 3, H, W] in [0, 1] and verdicts on them."""
        detections = self.detect(images, prompts)
        return [
            JudgedImage(own, verdict(own, prompt.metadata)) for own, prompt in zip(detections, prompts, strict=True)
        ]

    def _verdicts(self, images: Tensor, prompts: list[Prompt]) -> list[Verdict]:
        return [judged.verdict for judged in self.judge_images(images, prompts)]

    def _judge(self, images: Tensor, prompts: list[Prompt]) -> Tensor:
        return torch.tensor([each.correct for each in self._verdicts(images, prompts)], device=images.device)


def _coloured(found: Sequence[Detection], prompt: Prompt) -> set[int]:
    """Identities of objects whose colour decides a clause, that is, of clauses with enough objects."""
    clauses = [clause for clause in prompt.metadata["include"] if "color" in clause]
    groups = [(clause, clause_objects(found, clause)) for clause in clauses]
    return {id(each) for clause, group in groups if len(group) == clause["count"] for each in group}


def _misplaced(position: Any, place: int) -> str | None:
    """Error in the position of the clause at index ``place``; None for a valid or absent position."""
    if position is None:
        return None
    fits = isinstance(position, list | tuple) and len(position) == 2 and isinstance(position[1], int)
    if not fits or position[0] not in RELATIONS or not 0 <= position[1] < place:
        known = ", ".join(RELATIONS)
        return f"has a position {position!r}; it must be a relation ({known}) and the index of an earlier clause"
    return None
