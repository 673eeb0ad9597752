"""What a run has seen of one method, an entry an image: the table every report is made from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hypernoise_pl.metrics.diversity import pairwise_distance
from hypernoise_pl.metrics.intervals import mean_over_tags, with_tags
from hypernoise_pl.objective import weighted_sum
from hypernoise_pl.types import Rollout


@dataclass
class Tally:
    """Figures of every image of one method, in the order they were made.

    Args:
        prompts: index of each image's prompt.
        tags: its tag.
        correct: the judge's verdict, 1 or 0; empty without a judge.
        scores: reward name -> score; NaN where the reward gave none.
        reward: the weighted sum.
        diversity: one entry a prompt: mean distance between its images.
        seconds: per image.
        nfe: network evaluations per image, the same for all.
        nfe_backward: backward passes per image, the same for all.
        label: what made the images.
    """

    prompts: list[int] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    correct: list[float] = field(default_factory=list)
    scores: dict[str, list[float]] = field(default_factory=dict)
    reward: list[float] = field(default_factory=list)
    diversity: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    nfe: int = 0
    nfe_backward: int = 0
    label: str = ""

    def add(self, rollout: Rollout, correct: Tensor | None, weights: dict[str, float]) -> None:
        """Enter a rollout; images of one prompt stand together in it."""
        self.prompts += [prompt.index for prompt in rollout.prompts]
        self.tags += [prompt.tag for prompt in rollout.prompts]
        self.correct += [] if correct is None else correct.float().tolist()
        scores = {name: score.detach().float() for name, score in rollout.scores.items()}
        for name, score in scores.items():
            self.scores.setdefault(name, []).extend(score.tolist())
        self.reward += weighted_sum(scores, weights).tolist()
        self.diversity += pairwise_distance(rollout.images, [prompt.index for prompt in rollout.prompts])
        self.seconds += [rollout.seconds] * len(rollout.prompts)
        self.nfe, self.nfe_backward, self.label = rollout.nfe, rollout.nfe_backward, rollout.label

    def __iadd__(self, other: Tally) -> Tally:
        """Append what another process has seen."""
        for name in ("prompts", "tags", "correct", "reward", "diversity", "seconds"):
            getattr(self, name).extend(getattr(other, name))
        for name, score in other.scores.items():
            self.scores.setdefault(name, []).extend(score)
        self.nfe, self.nfe_backward = max(self.nfe, other.nfe), max(self.nfe_backward, other.nfe_backward)
        self.label = self.label or other.label
        return self

    def first_of_each_prompt(self) -> Tally:
        """Only the first image of every prompt, without diversity."""
        first: dict[int, int] = {}
        for row, prompt in enumerate(self.prompts):
            first.setdefault(prompt, row)
        rows = list(first.values())

        def pick(values: Sequence[float]) -> list[float]:
            return [values[row] for row in rows] if values else []

        return Tally(
            prompts=[self.prompts[row] for row in rows],
            tags=[self.tags[row] for row in rows],
            correct=pick(self.correct),
            scores={name: pick(score) for name, score in self.scores.items()},
            reward=pick(self.reward),
            seconds=pick(self.seconds),
            nfe=self.nfe,
            nfe_backward=self.nfe_backward,
            label=self.label,
        )

    def mean(self, values: Sequence[float]) -> float:
        """The mean over tags of one figure an image; NaN where no image has one."""
        return mean_over_tags(torch.tensor(values, dtype=torch.float64), self.tags)

    def judge(self) -> dict[str, float]:
        """``mean`` over tags, and the share of correct images of each tag; empty without a judge."""
        if not self.correct:
            return {}
        return with_tags(torch.tensor(self.correct, dtype=torch.float64), self.tags)

    def missing(self) -> dict[str, int]:
        """Reward name -> images that it gave no score, for those that have such images."""
        counts = {name: sum(map(math.isnan, scores)) for name, scores in self.scores.items()}
        return {name: count for name, count in counts.items() if count}
