"""What a run has seen of one method, an entry an image: the table every report is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hypernoise_pl.metrics.diversity import pairwise_distance
from hypernoise_pl.metrics.intervals import mean_over_tags
from hypernoise_pl.types import Rollout


@dataclass
class Tally:
    """Figures of every image of one method, in the order they were made.

    Args:
        prompts: index of each image's prompt.
        tags: its tag.
        correct: the judge's verdict, 1 or 0; empty without a judge.
        scores: reward name -> score.
        reward: the weighted sum.
        diversity: one entry a prompt: mean distance between its images.
        seconds: per image.
        nfe: per image, the same for all.
    """

    prompts: list[int] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    correct: list[float] = field(default_factory=list)
    scores: dict[str, list[float]] = field(default_factory=dict)
    reward: list[float] = field(default_factory=list)
    diversity: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    nfe: int = 0

    def add(self, rollout: Rollout, correct: Tensor | None, weights: dict[str, float]) -> None:
        """Enter a rollout; images of one prompt stand together in it."""
        self.prompts += [prompt.index for prompt in rollout.prompts]
        self.tags += [prompt.tag for prompt in rollout.prompts]
        self.correct += [] if correct is None else correct.float().tolist()
        for name, score in rollout.scores.items():
            self.scores.setdefault(name, []).extend(score.detach().float().tolist())
        weighted = sum(weights[name] * score.detach().float() for name, score in rollout.scores.items())
        self.reward += torch.as_tensor(weighted).tolist()
        self.diversity += pairwise_distance(rollout.images, [prompt.index for prompt in rollout.prompts])
        self.seconds += [rollout.seconds] * len(rollout.prompts)
        self.nfe = rollout.nfe

    def __iadd__(self, other: Tally) -> Tally:
        """Append what another process has seen."""
        for name in ("prompts", "tags", "correct", "reward", "diversity", "seconds"):
            getattr(self, name).extend(getattr(other, name))
        for name, score in other.scores.items():
            self.scores.setdefault(name, []).extend(score)
        self.nfe = max(self.nfe, other.nfe)
        return self

    def first_of_each_prompt(self) -> Tally:
        """Only the first image of every prompt."""
        rows = [row for row, prompt in enumerate(self.prompts) if prompt not in self.prompts[:row]]

        def pick(values: Sequence[float]) -> list[float]:
            return [values[row] for row in rows] if values else []

        return Tally(
            [self.prompts[row] for row in rows],
            [self.tags[row] for row in rows],
            pick(self.correct),
            {name: pick(score) for name, score in self.scores.items()},
            pick(self.reward),
            [],
            pick(self.seconds),
            self.nfe,
        )

    def judge(self) -> dict[str, float]:
        """``mean`` over tags, and the share of correct images of each tag."""
        if not self.correct:
            return {}
        correct = torch.tensor(self.correct)
        by_tag = {
            tag: correct[[row for row, other in enumerate(self.tags) if other == tag]].mean().item()
            for tag in dict.fromkeys(self.tags)
        }
        return {"mean": mean_over_tags(correct, self.tags), **by_tag}
