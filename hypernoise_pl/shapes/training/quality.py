"""Quality of the saved rewards on held-out combinations."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hypernoise_pl.data.geneval import TAGS
from hypernoise_pl.objective import weighted_sum
from hypernoise_pl.rewards.base import Reward
from hypernoise_pl.rewards.clip import CLIPScore, PickScore
from hypernoise_pl.rewards.image_reward import ImageReward
from hypernoise_pl.shapes.caption import Split, combinations, write_caption
from hypernoise_pl.shapes.flaws import Slots, hard_negatives
from hypernoise_pl.shapes.scene import sample_scenes
from hypernoise_pl.shapes.training.training_batches import draw_training_batch

KINDS = ("shape", "colour", "binding", "side", "count")


def load_rewards(folder: Path) -> dict[str, Reward]:
    """Load the three rewards of a folder of weights."""
    return {
        "clip": CLIPScore(str(folder / "clip")),
        "pick": PickScore(str(folder / "pick")),
        "image_reward": ImageReward(str(folder / "image_reward")),
    }


def pairs_by_kind(split: Split, each: int, seed: int) -> dict[str, tuple[Tensor, list[str], list[str]]]:
    """Kind -> clean images, their true captions, captions with one fact of that kind changed."""
    rng, pairs = random.Random(seed), {}
    for kind in KINDS:
        candidates = [c for tag in TAGS for c in combinations(tag, split) if kind in hard_negatives(c, rng)]
        right = rng.choices(candidates, k=each)
        wrong = [hard_negatives(c, rng)[kind] for c in right]
        images = Slots.of(sample_scenes(right, torch.Generator().manual_seed(seed))).render()
        pairs[kind] = (images, [write_caption(c, rng) for c in right], [write_caption(c, rng) for c in wrong])
    return pairs


@torch.no_grad()
def measure(rewards: dict[str, Reward], weights: dict[str, float], split: Split, each: int) -> dict[str, Any]:
    """Share of pairs whose true caption scores higher, and share of images whose clean version scores higher.

    Args:
        rewards: name -> reward.
        weights: weights of the ensemble, a weighted sum.
        split: split of the combinations.
        each: number of pairs of each kind.
    """
    report: dict[str, Any] = {"n": each, "split": split, "weights": weights}
    spread: dict[str, list[Tensor]] = {name: [] for name in rewards}
    for kind, (images, true, false) in pairs_by_kind(split, each, 1).items():
        right = {name: reward(images, true) for name, reward in rewards.items()}
        wrong = {name: reward(images, false) for name, reward in rewards.items()}
        margins = {name: right[name] - wrong[name] for name in rewards}
        margins["ensemble"] = weighted_sum(margins, weights)
        report[kind] = {name: _share(margin > 0) for name, margin in margins.items()}
        for name in rewards:
            spread[name].append(torch.stack([right[name], wrong[name]]))
    flawed = draw_training_batch(each, 1.0, 2, split)
    clean = Slots.of(flawed.scenes).render()
    texts = [write_caption(c, random.Random(0)) for c in flawed.right]
    far = flawed.amount > 0.5
    good = {name: reward(clean, texts) for name, reward in rewards.items()}
    bad = {name: reward(flawed.slots.render(), texts) for name, reward in rewards.items()}
    report["clean_over_flawed"] = {name: _share((good[name] > bad[name])[far]) for name in rewards}
    report["clean_over_flawed"]["ensemble"] = _share((weighted_sum(good, weights) > weighted_sum(bad, weights))[far])
    report["scores"] = {
        name: {
            "true": _moments(torch.cat([pair[0] for pair in spread[name]])),
            "hard_negative": _moments(torch.cat([pair[1] for pair in spread[name]])),
            "flawed": _moments(bad[name][far]),
        }
        for name in rewards
    }
    return report


def _share(truth: Tensor) -> float:
    return round(truth.float().mean().item(), 3)


def _moments(scores: Tensor) -> list[float]:
    """Mean and standard deviation."""
    return [round(scores.mean().item(), 3), round(scores.std().item(), 3)]
