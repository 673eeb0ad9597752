"""GenEval's judge of images: a detector finds objects, CLIP names their colours, and the rules decide."""

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
from hypernoise_pl.types import Prompt, nearest


@dataclass(frozen=True)
class JudgedImage:
    """What is seen in one image, and what is decided of it.

    Args:
        found: detections that count, most confident first; those that a clause on a colour is about have theirs.
        verdict: on the image.
    """

    found: list[Detection]
    verdict: Verdict


class GenEvalJudge(Judge):
    """Says of each image whether GenEval finds it correct. Its networks move to where the images are.

    Args:
        detector: of objects.
        colours: what names their colours.

    Source: Ghosh et al. 2023 (GenEval, arXiv 2310.11513).
    """

    def __init__(self, detector: Detector, colours: ClipColours) -> None:
        self.detector, self.colours = detector, colours

    def missing_metadata(self, prompt: Prompt) -> str | None:
        """What a prompt's metadata lacks: clauses of classes, colours and relations that are known; None if nothing."""
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
            hint = nearest(name, self.detector.classes)
            return f"has a clause of class {name!r}, which {self.detector.display_name()} does not know{hint}"
        if colour not in COLOURS:
            return f"has a clause of color {colour!r}; GenEval knows {', '.join(COLOURS)}"
        return None

    def display_name(self) -> str:
        """The detector and the CLIP model, by their names."""
        return f"{self.detector.display_name()}; colours by {self.colours.display_name()}"

    def credit(self) -> str:
        """The figures' name, the networks that they are by, and GenEval's caveat."""
        return f"{self.detector.title()} by {self.display_name()}. {CAVEAT}"

    @torch.no_grad()
    def detect(self, images: Tensor, prompts: Sequence[Prompt]) -> list[list[Detection]]:
        """The detections that count, of each image.

        Args:
            images: [B, 3, H, W] in [0, 1].
            prompts: B prompts with GenEval's clauses; only objects that one on a colour is about are asked for theirs.

        Returns:
            B lists, most confident first.
        """
        self.detector.to(images.device)
        self.colours.to(images.device)
        looked: list[list[Detection]] = []
        asked: list[tuple[int, int, DetectedObject]] = []  # image, place in its list, object
        for row, (prompt, own) in enumerate(zip(prompts, self.detector(images), strict=True)):
            left = filter_detections([each.detection for each in own], prompt.tag)
            looked.append(left)
            wanted = _coloured(left, prompt)
            by_identity = {id(each.detection): each for each in own}
            asked += [(row, place, by_identity[id(each)]) for place, each in enumerate(left) if id(each) in wanted]
        names = self.colours([(images[row], found) for row, _, found in asked])
        for (row, place, _), colour in zip(asked, names, strict=True):
            looked[row][place] = replace(looked[row][place], colour=colour)
        return looked

    def judge_images(self, images: Tensor, prompts: Sequence[Prompt]) -> list[JudgedImage]:
        """What is seen in images [B, 3, H, W] in [0, 1], with the verdicts on them; arguments as of ``look``."""
        looked = self.detect(images, prompts)
        return [
            JudgedImage(found, verdict(found, prompt.metadata)) for found, prompt in zip(looked, prompts, strict=True)
        ]

    def _verdicts(self, images: Tensor, prompts: list[Prompt]) -> list[Verdict]:
        return [seen.verdict for seen in self.judge_images(images, prompts)]

    def _judge(self, images: Tensor, prompts: list[Prompt]) -> Tensor:
        return torch.tensor([each.correct for each in self._verdicts(images, prompts)], device=images.device)


def _coloured(found: Sequence[Detection], prompt: Prompt) -> set[int]:
    """Identities of the objects whose colour decides something: there are as many as their clause counts."""
    clauses = [clause for clause in prompt.metadata["include"] if "color" in clause]
    groups = [(clause, clause_objects(found, clause)) for clause in clauses]
    return {id(each) for clause, group in groups if len(group) == clause["count"] for each in group}


def _misplaced(position: Any, place: int) -> str | None:
    """What is wrong with the position of the clause at a place; None if nothing, or if it has none."""
    if position is None:
        return None
    fits = isinstance(position, list | tuple) and len(position) == 2 and isinstance(position[1], int)
    if not fits or position[0] not in RELATIONS or not 0 <= position[1] < place:
        known = ", ".join(RELATIONS)
        return f"has a position {position!r}; it must be a relation ({known}) and the index of an earlier clause"
    return None
