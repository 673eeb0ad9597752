"""Random scenes with any shapes in any number, and captions whose truth is known exactly.

They complement the scenes of prompts: a shape is counted among other shapes, and a caption stays true if other objects
are present. All captions belong to the training split.
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
    """Images of random scenes with captions.

    Args:
        images: [B, 3, 32, 32] degraded images.
        scenes: B scenes of the images.
        captions: K * B captions, the first of every image before the second of any.
        truth: [K * B] 1 for a true caption, 0 for a false one.
    """

    images: Tensor
    scenes: Scenes
    captions: list[Combination]
    truth: Tensor


def draw_random_scenes(count: int, captions: int, seed: int) -> RandomScenes:
    """Draw ``count`` scenes with ``captions`` captions each; the same seed gives the same scenes."""
    rng = random.Random(seed)
    draws = torch.Generator().manual_seed(seed)
    objects = [_objects(rng) for _ in range(count)]
    scenes = sample_scenes(objects, draws)
    drawn = [_caption(scene, rng) for _ in range(captions) for scene in objects]
    truth = torch.cat(
        [caption_truth(scenes, drawn[start : start + count]).diagonal() for start in range(0, len(drawn), count)]
    )
    return RandomScenes(degrade(Slots.of(scenes).render(), draws), scenes, drawn, truth.float())


def _objects(rng: random.Random) -> Combination:
    kinds = rng.sample(SHAPES, rng.choice((1, 2, 2, 3)))
    shapes = [*kinds, *rng.choices(kinds, k=rng.randrange(5 - len(kinds)))]
    return Combination("random", tuple(shapes), tuple(rng.choice(list(COLOURS)) for _ in shapes))


def _caption(scene: Combination, rng: random.Random) -> Combination:
    """A caption of the training split that is true of a scene, or nearly true."""
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
                if not {a, b} <= set(single):  # with several objects of a shape the relation is ambiguous
                    continue
                found = Combination(tag, (a, b), (None, None), rng.choice(list(RELATIONS)))
            case _:
                found = Combination(tag, (a, b), (None, None) if tag == "two_object" else colours)
        if is_training_caption(found):
            return found
