"""Scenes that no prompt describes: any shapes in any number, as a generator makes them where it errs.

They teach what the prompts' own scenes cannot: to count circles beside squares, and that a caption stays true beside
objects that it does not name. Which captions are true of them is known exactly, and only captions of the training
split are put to them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from hypernoise_pl.shapes.caption import COLOURS, RELATIONS, SHAPES, Combination
from hypernoise_pl.shapes.facts import caption_truth
from hypernoise_pl.shapes.flaws import Slots
from hypernoise_pl.shapes.scene import Scenes, sample_scenes
from hypernoise_pl.shapes.training.training_batches import degrade, is_training_caption


@dataclass
class RandomScenes:
    """Pictures, and captions put to them.

    Args:
        images: [B, 3, 32, 32] degraded pictures.
        scenes: what they show.
        captions: K * B, the first of every picture before the second of any.
        truth: [K * B] 1 for a true caption, 0 for a false one.
    """

    images: Tensor
    scenes: Scenes
    captions: list[Combination]
    truth: Tensor


def draw_random_scenes(count: int, captions: int, seed: int) -> RandomScenes:
    """Draw ``count`` scenes and put as many captions to each; the same seed gives the same crowd."""
    rng = random.Random(seed)
    draws = torch.Generator().manual_seed(seed)
    held = [_objects(rng) for _ in range(count)]
    scenes = sample_scenes(held, draws)
    asked = [_caption(objects, rng) for _ in range(captions) for objects in held]
    truth = torch.cat(
        [caption_truth(scenes, asked[start : start + count]).diagonal() for start in range(0, len(asked), count)]
    )
    return RandomScenes(degrade(Slots.of(scenes).render(), draws), scenes, asked, truth.float())


def _objects(rng: random.Random) -> Combination:
    kinds = rng.sample(SHAPES, rng.choice((1, 2, 2, 3)))
    shapes = [*kinds, *rng.choices(kinds, k=rng.randrange(5 - len(kinds)))]
    return Combination("crowd", tuple(shapes), tuple(rng.choice(list(COLOURS)) for _ in shapes))


def _caption(scene: Combination, rng: random.Random) -> Combination:
    """A caption of the training split that is true of a scene, or nearly."""
    counts = {shape: scene.shapes.count(shape) for shape in SHAPES}
    single = [shape for shape in set(scene.shapes) if counts[shape] == 1]
    colour_of = dict(zip(scene.shapes, scene.colours))
    while True:
        a, b = rng.choice(scene.shapes), rng.choice(scene.shapes if rng.random() < 0.7 else SHAPES)
        tag = rng.choice(("single_object", "counting", "counting", "colors", "two_object", "position", "color_attr"))
        colours: tuple[str | None, ...] = (colour_of[a], colour_of.get(b, "red"))
        if rng.random() < 0.5:
            colours = colours[::-1]
        match tag:
            case "single_object":
                found = Combination(tag, (rng.choice((a, b)),), (None,))
            case "counting":
                number = min(4, max(2, counts[a] + rng.choice((-1, 0, 0, 1))))
                found = Combination(tag, (a,) * number, (None,) * number)
            case "colors":
                found = Combination(tag, (a,), colours[:1])
            case "position":
                if not {a, b} <= set(single):  # which of several would be meant?
                    continue
                found = Combination(tag, (a, b), (None, None), rng.choice(list(RELATIONS)))
            case _:
                found = Combination(tag, (a, b), (None, None) if tag == "two_object" else colours)
        if is_training_caption(found):
            return found
