"""What the rewards learn from: pictures on the way from right to wrong, and how true captions are of them."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from hypernoise_pl.shapes.caption import SHAPES, TAGS, Combination, Split, combinations
from hypernoise_pl.shapes.flaws import Slots, hard_negatives, interpolate_to_flaw
from hypernoise_pl.shapes.scene import Scenes, sample_scenes

# shares of the tags in training: numbers, places and bindings take longest to learn
SHARES = {"single_object": 1, "two_object": 1, "counting": 2, "colors": 1, "position": 3, "color_attr": 3}
UNDIRECTED = ("fade", "overlap")  # flaws that lead to no other caption


@dataclass
class TrainingBatch:
    """A batch to learn from.

    Args:
        images: [B, 3, 32, 32] degraded pictures of the scenes, moved towards what is wrong.
        amount: [B] how far: 0 shows ``right``, 1 shows ``wrong``.
        kinds: what was moved.
        right: the captions the scenes were drawn for.
        wrong: captions one fact away; the scene moves towards it if the kind is a kind of caption.
        never: captions another fact away, which the pictures do not come nearer to.
        scenes: as drawn.
        slots: as moved.
    """

    images: Tensor
    amount: Tensor
    kinds: list[str]
    right: list[Combination]
    wrong: list[Combination]
    never: list[Combination]
    scenes: Scenes
    slots: Slots

    def truth(self) -> tuple[Tensor, Tensor]:
        """[B] how true the right and the wrong captions are of the pictures as they were moved, from 0 to 1."""
        directed = torch.tensor([kind != "none" and kind not in UNDIRECTED for kind in self.kinds])
        return 1 - self.amount, torch.where(directed, self.amount, torch.zeros_like(self.amount))


def draw_training_batch(count: int, flawed: float, seed: int, split: Split = "train") -> TrainingBatch:
    """Draw a batch.

    Args:
        count: pictures.
        flawed: share of them that is moved from right to wrong.
        seed: the same seed gives the same batch.
        split: of the combinations.
    """
    rng = random.Random(seed)
    draws = torch.Generator().manual_seed(seed)
    tags = rng.choices(list(SHARES), list(SHARES.values()), k=count)
    right = [rng.choice(combinations(tag, split)) for tag in tags]
    wrong, never, kinds = [], [], []
    for combination in right:
        negatives = sample_negatives(combination, split, rng)
        hard = [kind for kind in negatives if kind in ("binding", "side", "count")]
        directed = [kind for kind in negatives if kind != "across"]  # scenes are not moved across
        kind = rng.choice(hard) if hard and rng.random() < 0.7 else rng.choice(directed)
        wrong.append(negatives[kind])
        others = [negative for other, negative in negatives.items() if other != kind]
        never.append(rng.choice(others or [negatives[kind]]))
        moved = kind if rng.random() < 0.7 else rng.choice(UNDIRECTED)
        kinds.append(moved if rng.random() < flawed else "none")
    scenes = sample_scenes(right, draws)
    amount = torch.rand(count, generator=draws)
    amount[[kind == "none" for kind in kinds]] = 0
    slots = interpolate_to_flaw(scenes, right, wrong, kinds, amount, draws)
    return TrainingBatch(degrade(slots.render(), draws), amount, kinds, right, wrong, never, scenes, slots)


def sample_negatives(combination: Combination, split: Split, rng: random.Random) -> dict[str, Combination]:
    """Captions one fact away, by kind; in training only such as are true of other pictures.

    A caption that is held out would otherwise be met as a negative alone, and learnt to be always false.
    """
    while True:
        found = hard_negatives(combination, rng)
        if combination.relation is not None:
            across = ("above", "below") if combination.relation.endswith("of") else ("left of", "right of")
            found["across"] = replace(combination, relation=rng.choice(across))
        if split == "train":
            found = {kind: negative for kind, negative in found.items() if is_training_caption(negative)}
        if set(found) - {"across"}:
            return found


def is_training_caption(combination: Combination) -> bool:
    """Whether a caption may be met in training; without a relation the order of its objects says nothing."""
    if combination.relation is None:
        pairs = sorted(zip(combination.shapes, combination.colours), key=lambda pair: SHAPES.index(pair[0]))
        combination = replace(combination, shapes=tuple(s for s, _ in pairs), colours=tuple(c for _, c in pairs))
    return combination in _trained()


@lru_cache
def _trained() -> frozenset[Combination]:
    return frozenset(c for tag in TAGS for c in combinations(tag, "train"))


def concatenate_slots(first: Slots, second: Slots) -> Slots:
    """Two batches of slots as one."""
    return Slots(*(torch.cat([getattr(part, f.name) for part in (first, second)]) for f in fields(Slots)))


def degrade(images: Tensor, draws: torch.Generator) -> Tensor:
    """Blur, noise, contrast, brightness and tint, each a little and not on every picture."""

    def uniform(low: float, high: float, *size: int) -> Tensor:
        return low + (high - low) * torch.rand(len(images), *size, generator=draws)

    soft = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    images = images.lerp(soft, uniform(-0.5, 0.5, 1, 1, 1).clamp(min=0))
    images = images * uniform(0.9, 1.1, 1, 1, 1) * uniform(0.95, 1.05, 3, 1, 1) + uniform(-0.03, 0.03, 1, 1, 1)
    sigma = uniform(-0.04, 0.05, 1, 1, 1).clamp(min=0)
    return (images + sigma * torch.randn(images.shape, generator=draws)).clamp(0, 1)
