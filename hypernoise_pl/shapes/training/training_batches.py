"""Training batches of the rewards: images interpolated towards a flaw, and the truth of captions."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from hypernoise_pl.data.geneval import TAGS
from hypernoise_pl.shapes.caption import SHAPES, Combination, Split, combinations
from hypernoise_pl.shapes.flaws import Slots, hard_negatives, interpolate_to_flaw
from hypernoise_pl.shapes.scene import Scenes, sample_scenes

# shares of the tags in training; counting, positions and bindings take longest to learn
SHARES = {"single_object": 1, "two_object": 1, "counting": 2, "colors": 1, "position": 3, "color_attr": 3}
UNDIRECTED = ("fade", "overlap")  # flaws that make no other caption true


@dataclass
class TrainingBatch:
    """A training batch of the rewards.

    Args:
        images: [B, 3, 32, 32] degraded images of the scenes, interpolated towards a flaw.
        amount: [B] amount of the flaw: 0 shows ``right``, 1 shows ``wrong``.
        kinds: kinds of the flaws.
        right: captions of the original scenes.
        wrong: captions that differ in one fact; a directed flaw makes them true.
        distractors: captions that differ in another fact and never become true.
        scenes: original scenes.
        slots: interpolated scenes.
    """

    images: Tensor
    amount: Tensor
    kinds: list[str]
    right: list[Combination]
    wrong: list[Combination]
    distractors: list[Combination]
    scenes: Scenes
    slots: Slots

    def truth(self) -> tuple[Tensor, Tensor]:
        """[B] truth of the right and of the wrong captions for the interpolated images, from 0 to 1."""
        directed = torch.tensor([kind != "none" and kind not in UNDIRECTED for kind in self.kinds])
        return 1 - self.amount, torch.where(directed, self.amount, torch.zeros_like(self.amount))


def draw_training_batch(count: int, flawed: float, seed: int, split: Split = "train") -> TrainingBatch:
    """Draw a training batch.

    Args:
        count: number of images.
        flawed: share of images with a flaw.
        seed: seed of the batch; the same seed gives the same batch.
        split: split of the combinations.
    """
    rng = random.Random(seed)
    draws = torch.Generator().manual_seed(seed)
    tags = rng.choices(list(SHARES), list(SHARES.values()), k=count)
    right = [rng.choice(combinations(tag, split)) for tag in tags]
    wrong, distractors, kinds = [], [], []
    for combination in right:
        negatives = sample_negatives(combination, split, rng)
        hard = [kind for kind in negatives if kind in ("binding", "side", "count")]
        directed = [kind for kind in negatives if kind != "across"]  # no flaw of this kind exists
        kind = rng.choice(hard) if hard and rng.random() < 0.7 else rng.choice(directed)
        wrong.append(negatives[kind])
        others = [negative for other, negative in negatives.items() if other != kind]
        distractors.append(rng.choice(others or [negatives[kind]]))
        moved = kind if rng.random() < 0.7 else rng.choice(UNDIRECTED)
        kinds.append(moved if rng.random() < flawed else "none")
    scenes = sample_scenes(right, draws)
    amount = torch.rand(count, generator=draws)
    amount[[kind == "none" for kind in kinds]] = 0
    slots = interpolate_to_flaw(scenes, right, wrong, kinds, amount, draws)
    return TrainingBatch(degrade(slots.render(), draws), amount, kinds, right, wrong, distractors, scenes, slots)


def sample_negatives(combination: Combination, split: Split, rng: random.Random) -> dict[str, Combination]:
    """Kind -> caption that differs in one fact; for the training split, only captions of that split.

    A held-out caption that occurs only as a negative would be learnt as always false.
    """
    while True:
        negatives = hard_negatives(combination, rng)
        if combination.relation is not None:
            across = ("above", "below") if combination.relation.endswith("of") else ("left of", "right of")
            negatives["across"] = replace(combination, relation=rng.choice(across))
        if split == "train":
            negatives = {kind: negative for kind, negative in negatives.items() if is_training_caption(negative)}
        if set(negatives) - {"across"}:
            return negatives


def is_training_caption(combination: Combination) -> bool:
    """Whether a caption belongs to the training split; without a relation the order of objects is irrelevant."""
    if combination.relation is None:
        pairs = sorted(zip(combination.shapes, combination.colours), key=lambda pair: SHAPES.index(pair[0]))
        combination = replace(combination, shapes=tuple(s for s, _ in pairs), colours=tuple(c for _, c in pairs))
    return combination in _trained()


@lru_cache
def _trained() -> frozenset[Combination]:
    return frozenset(c for tag in TAGS for c in combinations(tag, "train"))


def concatenate_slots(first: Slots, second: Slots) -> Slots:
    """Concatenate two batches of slots."""
    return Slots(*(torch.cat([getattr(part, f.name) for part in (first, second)]) for f in fields(Slots)))


def degrade(images: Tensor, draws: torch.Generator) -> Tensor:
    """Blur, add noise, and change contrast, brightness and tint slightly, each on some images."""

    def uniform(low: float, high: float, *size: int) -> Tensor:
        return low + (high - low) * torch.rand(len(images), *size, generator=draws)

    soft = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    images = images.lerp(soft, uniform(-0.5, 0.5, 1, 1, 1).clamp(min=0))
    images = images * uniform(0.9, 1.1, 1, 1, 1) * uniform(0.95, 1.05, 3, 1, 1) + uniform(-0.03, 0.03, 1, 1, 1)
    sigma = uniform(-0.04, 0.05, 1, 1, 1).clamp(min=0)
    return (images + sigma * torch.randn(images.shape, generator=draws)).clamp(0, 1)
