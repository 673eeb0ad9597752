"""Flaws: captions with one fact changed, and scenes interpolated towards a flaw.

They train the rewards, which must rank them, and test the judge, which must reject them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from hypernoise_pl.shapes.caption import COLOURS, NUMBERS, SHAPES, Combination
from hypernoise_pl.shapes.render import render
from hypernoise_pl.shapes.scene import PALETTE, SLOTS, Scenes

OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


def hard_negatives(combination: Combination, rng: random.Random) -> dict[str, Combination]:
    """Captions that are one fact away.

    Returns:
        Kind -> combination. Every combination has ``shape`` (another shape for one object); further ``colour``
        (another colour for one object), ``binding`` (colours exchanged), ``side`` (relation reversed) and ``count``
        (one more or one less) where its tag states such facts.
    """
    found = {"shape": _other_shape(combination, rng)}
    painted = [i for i, colour in enumerate(combination.colours) if colour is not None]
    if painted:
        place = rng.choice(painted)
        other = rng.choice([c for c in COLOURS if c not in combination.colours])
        colours = tuple(other if i == place else c for i, c in enumerate(combination.colours))
        found["colour"] = replace(combination, colours=colours)
    if combination.tag == "color_attr":
        found["binding"] = replace(combination, colours=combination.colours[::-1])
    if combination.relation is not None:
        found["side"] = replace(combination, relation=OPPOSITE[combination.relation])
    if combination.tag == "counting":
        count = len(combination.shapes)
        other_count = rng.choice([n for n in NUMBERS if abs(n - count) == 1])
        shapes = (combination.shapes[0],) * other_count
        found["count"] = replace(combination, shapes=shapes, colours=(None,) * other_count)
    return found


def _other_shape(combination: Combination, rng: random.Random) -> Combination:
    other = rng.choice([s for s in SHAPES if s not in combination.shapes])
    if combination.tag == "counting":
        return replace(combination, shapes=(other,) * len(combination.shapes))
    place = rng.randrange(len(combination.shapes))
    return replace(combination, shapes=tuple(other if i == place else s for i, s in enumerate(combination.shapes)))


@dataclass
class Slots:
    """Scenes as the renderer takes them, so that they can be blended.

    Args:
        opacity: [B, 4]; shape: [B, 4, 6] weights; rgb: [B, 4, 3]; centre: [B, 4, 2]; radius: [B, 4];
            background: [B, 3, 2, 2].
    """

    opacity: Tensor
    shape: Tensor
    rgb: Tensor
    centre: Tensor
    radius: Tensor
    background: Tensor

    @classmethod
    def of(cls, scenes: Scenes) -> Slots:
        """The exact slots of scenes."""
        one_hot = F.one_hot(scenes.shape, len(SHAPES)).to(scenes.rgb)
        opacity = scenes.present.to(scenes.rgb)
        return cls(
            opacity, one_hot, scenes.rgb.clone(), scenes.centre.clone(), scenes.radius.clone(), scenes.background
        )

    def render(self, size: int = 32) -> Tensor:
        """[B, 3, size, size] in [0, 1]."""
        return render(self.opacity, self.shape, self.rgb, self.centre, self.radius, self.background, size)


def interpolate_to_flaw(
    scenes: Scenes,
    right: Sequence[Combination],
    wrong: Sequence[Combination],
    kinds: Sequence[str],
    amount: Tensor,
    generator: torch.Generator,
) -> Slots:
    """Interpolate scenes from one caption to another that differs in one fact.

    Args:
        scenes: B scenes that show ``right``; slots in any order.
        right: captions of the scenes.
        wrong: captions from ``hard_negatives``, of the given kinds.
        kinds: kind of each flaw: ``shape``, ``colour``, ``binding``, ``side`` or ``count``; ``fade`` (an object
            vanishes) or ``overlap`` (an object moves onto another, or out of the image), which need no wrong caption;
            or ``none``.
        amount: [B] in [0, 1]: 0 for the original scene, 1 for the complete flaw.
        generator: source of random positions.
    """
    slots = Slots.of(scenes)
    for row, kind in enumerate(kinds):
        objects = scenes.present[row].nonzero().flatten().tolist()
        a = amount[row]
        if kind == "none":
            continue
        if kind in ("shape", "colour", "binding"):
            for slot, old, new in _matched(scenes, row, objects, right[row], wrong[row]):
                _change_object(slots, row, slot, old, new, a)
        elif kind == "side":
            first, second = objects
            slots.centre[row, first] = scenes.centre[row, first].lerp(scenes.centre[row, second], a)
            slots.centre[row, second] = scenes.centre[row, second].lerp(scenes.centre[row, first], a)
        elif kind == "count" and len(wrong[row].shapes) > len(right[row].shapes):
            _add_object(slots, row, objects, a, _free_place(scenes, row, objects, generator))
        elif kind in ("count", "fade"):
            slots.opacity[row, objects[0]] = 1 - a
        elif kind == "overlap":
            place = scenes.centre[row, objects[0]]
            goal = scenes.centre[row, objects[1]] if len(objects) > 1 else place.sign() * 1.25
            slots.centre[row, objects[0]] = place.lerp(goal, a)
        else:
            raise ValueError(f"unknown kind of flaw {kind!r}")
    return slots


def _change_object(
    slots: Slots, row: int, slot: int, old: tuple[str, str | None], new: tuple[str, str | None], amount: Tensor
) -> None:
    """Interpolate the shape and colour of one object, in place."""
    if old[0] != new[0]:
        target = F.one_hot(torch.tensor(SHAPES.index(new[0])), len(SHAPES))
        slots.shape[row, slot] = slots.shape[row, slot].lerp(target.to(slots.shape), amount)
    if old[1] != new[1]:
        slots.rgb[row, slot] = slots.rgb[row, slot].lerp(PALETTE[list(COLOURS).index(str(new[1]))], amount)


def _add_object(slots: Slots, row: int, objects: list[int], amount: Tensor, centre: Tensor) -> None:
    """Add a copy of the first object in a free slot, in place."""
    free = next(slot for slot in range(SLOTS) if slot not in objects)
    slots.opacity[row, free] = amount
    slots.shape[row, free] = slots.shape[row, objects[0]]
    slots.rgb[row, free] = slots.rgb[row, objects[0]]
    slots.radius[row, free] = slots.radius[row, objects[0]]
    slots.centre[row, free] = centre


def _matched(
    scenes: Scenes, row: int, objects: list[int], right: Combination, wrong: Combination
) -> list[tuple[int, tuple[str, str | None], tuple[str, str | None]]]:
    """(slot, (shape, colour) it should have, (shape, colour) the wrong caption gives it) for every object."""
    free = list(objects)
    found = []
    for old, new in zip(zip(right.shapes, right.colours), zip(wrong.shapes, wrong.colours), strict=True):
        slot = next(s for s in free if SHAPES[int(scenes.shape[row, s])] == old[0])
        free.remove(slot)
        found.append((slot, old, new))
    return found


def _free_place(scenes: Scenes, row: int, objects: list[int], generator: torch.Generator) -> Tensor:
    """The place, of many drawn, that is farthest from every object."""
    places = (2 * torch.rand(32, 2, generator=generator) - 1) * 0.68
    distance = torch.cdist(places, scenes.centre[row, objects]).min(1).values
    return places[distance.argmax()]
