"""Captions of scenes: combinations of facts, their wording, and GenEval's metadata for the judge.

Train, validation and test prompts are disjoint by combination: which shapes, which colours, which relation.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

from hypernoise_pl.data.geneval import TAGS
from hypernoise_pl.types import Prompt

SHAPES = ("circle", "square", "triangle", "cross", "star", "ring")
COLOURS = {  # RGB in [0, 1]; all of them GenEval's names
    "red": (0.90, 0.10, 0.12),
    "orange": (0.97, 0.52, 0.06),
    "yellow": (0.97, 0.92, 0.15),
    "green": (0.12, 0.72, 0.20),
    "blue": (0.12, 0.32, 0.95),
    "purple": (0.55, 0.14, 0.80),
    "pink": (0.98, 0.52, 0.78),
    "white": (0.95, 0.95, 0.95),
}
Split = Literal["train", "validation", "test"]
NUMBERS = {2: "two", 3: "three", 4: "four"}
OPENINGS = ("a photo of ", "a picture of ", "an image of ", "a drawing of ", "")
ENDINGS = ("", " on a dark background", " in the dark")
RELATIONS = {
    "left of": ("left of", "to the left of", "on the left of"),
    "right of": ("right of", "to the right of", "on the right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
}
HELD_OUT = {"single_object": 6, "two_object": 5, "counting": 6, "colors": 6, "position": 8, "color_attr": 8}


@dataclass(frozen=True)
class Combination:
    """The facts of one prompt.

    Args:
        tag: one of GenEval's six.
        shapes: shape of each object.
        colours: colour of each object; None if the prompt does not state it.
        relation: position of the first object relative to the second.
    """

    tag: str
    shapes: tuple[str, ...]
    colours: tuple[str | None, ...]
    relation: str | None = None


@lru_cache
def combinations(tag: str, split: Split) -> tuple[Combination, ...]:
    """Every combination of a tag that belongs to a split; 1 in ``HELD_OUT[tag]`` each to validation and test.

    Raises:
        ValueError: for a tag or split that does not exist.
    """
    if tag not in TAGS or split not in get_args(Split):
        raise ValueError(f"no combinations of tag {tag!r} and split {split!r}; tags: {', '.join(TAGS)}")
    every = list(_all_combinations(tag))
    random.Random(f"shapes world, {tag}").shuffle(every)
    held = len(every) // HELD_OUT[tag]
    bounds = {"test": (0, held), "validation": (held, 2 * held), "train": (2 * held, len(every))}
    return tuple(every[slice(*bounds[split])])


def write_caption(combination: Combination, rng: random.Random) -> str:
    """Write a combination as a caption in one of several phrasings."""
    named = [_name(s, c, rng) for s, c in zip(combination.shapes, combination.colours)]
    match combination.tag:
        case "single_object" | "colors":
            words = named[0]
        case "counting":
            words = f"{NUMBERS[len(named)]} {plural(combination.shapes[0])}"
        case "position":
            words = f"{named[0]} {rng.choice(RELATIONS[str(combination.relation)])} {named[1]}"
        case _:
            words = rng.choice((" and ", " and ", " with ")).join(rng.sample(named, 2))
    return rng.choice(OPENINGS) + words + rng.choice(ENDINGS)


def metadata(combination: Combination) -> dict[str, Any]:
    """GenEval's clauses of a combination: ``include`` with class, count, color, position; ``exclude`` for counts."""
    shapes = combination.shapes
    if combination.tag == "counting":
        return {
            "include": [{"class": shapes[0], "count": len(shapes)}],
            "exclude": [{"class": shapes[0], "count": len(shapes) + 1}],
        }
    if combination.relation is not None:
        target = {"class": shapes[1], "count": 1}
        return {"include": [target, {"class": shapes[0], "count": 1, "position": [combination.relation, 0]}]}
    include: list[dict[str, Any]] = []
    for shape, colour in zip(shapes, combination.colours):
        include.append({"class": shape, "count": 1} | ({"color": colour} if colour else {}))
    return {"include": include}


def sample_prompts(split: Split, count: int, seed: int) -> list[tuple[Prompt, Combination]]:
    """Draw prompts, the six tags in equal shares and every combination of a tag equally often."""
    rng = random.Random(f"{split}, {seed}")
    drawn = []
    decks: dict[str, list[Combination]] = {tag: [] for tag in TAGS}
    for index in range(count):
        tag = TAGS[index % len(TAGS)]
        if not decks[tag]:
            decks[tag] = rng.sample(combinations(tag, split), len(combinations(tag, split)))
        combination = decks[tag].pop()
        prompt = Prompt(write_caption(combination, rng), tag, metadata(combination), index)
        drawn.append((prompt, combination))
    return drawn


def vocabulary() -> list[str]:
    """All words of captions, sorted."""
    phrases = [*OPENINGS, *ENDINGS, *NUMBERS.values(), *itertools.chain(*RELATIONS.values()), *COLOURS, *SHAPES]
    phrases += [plural(shape) for shape in SHAPES] + ["a an and with that is"]
    return sorted({word for phrase in phrases for word in phrase.split()})


def plural(shape: str) -> str:
    """The plural of a shape."""
    return shape + ("es" if shape.endswith("s") else "s")


def _name(shape: str, colour: str | None, rng: random.Random) -> str:
    if colour is None:
        return f"a {shape}"
    article = "an" if colour[0] in "aeiou" else "a"
    return rng.choice((f"{article} {colour} {shape}", f"{article} {colour} {shape}", f"a {shape} that is {colour}"))


def _all_combinations(tag: str) -> list[Combination]:
    pairs = list(itertools.combinations(SHAPES, 2))
    if tag == "single_object":
        return [Combination(tag, (s,), (None,)) for s in SHAPES]
    if tag == "two_object":
        return [Combination(tag, pair, (None, None)) for pair in pairs]
    if tag == "counting":
        return [Combination(tag, (s,) * n, (None,) * n) for s in SHAPES for n in NUMBERS]
    if tag == "colors":
        return [Combination(tag, (s,), (c,)) for s in SHAPES for c in COLOURS]
    if tag == "position":
        ordered = itertools.permutations(SHAPES, 2)
        return [Combination(tag, pair, (None, None), r) for pair in ordered for r in RELATIONS]
    return [Combination(tag, p, c) for p in pairs for c in itertools.permutations(COLOURS, 2)]
