"""The judge accepts what is true, refuses what is wrong by one fact, and knows the traps between."""

import random
from collections.abc import Sequence
from functools import cache

import pytest
import torch
from torch import Tensor

from hypernoise_pl.data.geneval import TAGS
from hypernoise_pl.metrics.geneval.rules import Detection
from hypernoise_pl.shapes.caption import COLOURS, SHAPES, Combination, sample_prompts
from hypernoise_pl.shapes.flaws import Slots, hard_negatives, interpolate_to_flaw
from hypernoise_pl.shapes.judge import ShapesJudge
from hypernoise_pl.shapes.render import render, render_scenes
from hypernoise_pl.shapes.scene import PALETTE, sample_scenes
from hypernoise_pl.types import Prompt
from tests.metrics.original_geneval import reread

JUDGE = ShapesJudge()


@cache
def drawn(count: int) -> tuple[list[Prompt], list[Combination]]:
    pairs = sample_prompts("train", count, seed=5)
    return [prompt for prompt, _ in pairs], [combination for _, combination in pairs]


@pytest.mark.parametrize(("size", "count"), [(32, 720), (64, 180), (128, 120)])
def test_accepts_true_pictures_of_every_tag(size, count):
    prompts, named = drawn(count)
    images = render_scenes(sample_scenes(named, torch.Generator().manual_seed(0)), size)
    right = JUDGE(images, prompts)
    share = {tag: right[[p.tag == tag for p in prompts]].float().mean().item() for tag in TAGS}
    assert min(share.values()) >= 0.97, share


@pytest.mark.parametrize("same_scene", [True, False], ids=["changed", "drawn"])
@pytest.mark.parametrize("kind", ["shape", "colour", "binding", "side", "count"])
def test_refuses_pictures_with_one_fact_changed(kind, same_scene):
    """The fact is changed in a true scene, or a whole new scene is drawn for the wrong caption."""
    rng, draws = random.Random(0), torch.Generator().manual_seed(0)
    triples = [(p, c, n[kind]) for p, c in zip(*drawn(720), strict=True) if kind in (n := hard_negatives(c, rng))]
    prompts, right, wrong = (list(part) for part in zip(*triples, strict=True))
    if same_scene:
        scenes = sample_scenes(right, draws)
        slots = interpolate_to_flaw(scenes, right, wrong, [kind] * len(right), torch.ones(len(right)), draws)
    else:
        slots = Slots.of(sample_scenes(wrong, draws))
    accepted = JUDGE(slots.render(), prompts)
    assert accepted.sum() <= 0.02 * len(accepted), f"{accepted.sum()} of {len(accepted)} accepted"


def test_verdicts_are_genevals_on_what_is_detected():
    """By a second reading of the procedure, on true pictures and on those of other captions."""
    prompts, named = drawn(360)
    images = render_scenes(sample_scenes(named, torch.Generator().manual_seed(0)), 64)
    for shift in (0, 6):  # the second gives each prompt a picture of the next one of its tag
        pictures = images.roll(shift, 0)
        verdicts = []
        for prompt, found in zip(prompts, JUDGE.detect(pictures), strict=True):
            scores = [0.99 - 0.001 * place for place in range(len(found))]
            objects = [
                {"class": d.name, "box": d.box, "color": d.colour, "score": score}
                for d, score in zip(found, scores, strict=True)
            ]
            verdicts.append(reread(objects, {"tag": prompt.tag, **prompt.metadata})[0])
        assert JUDGE(pictures, prompts).tolist() == verdicts
        assert (sum(verdicts) > 340) if shift == 0 else (0 < sum(verdicts) < 180), sum(verdicts)


@pytest.mark.parametrize(("kind", "amount"), [("fade", 1.0), ("fade", 0.8), ("overlap", 0.8)])
def test_rejects_missing_faint_and_hidden_objects(kind, amount):
    prompts, named = drawn(300)
    draws = torch.Generator().manual_seed(0)
    scenes = sample_scenes(named, draws)
    slots = interpolate_to_flaw(scenes, named, named, [kind] * len(named), torch.full((len(named),), amount), draws)
    accepted = JUDGE(slots.render(), prompts)
    assert accepted.sum() <= 0.02 * len(accepted), f"{accepted.sum()} of {len(accepted)} accepted"


def paint(
    *objects: tuple[Sequence[float], str | None, tuple[float, float]],
    opacity: float = 1.0,
    dark: float = 0.12,
    size: int = 32,
    radius: float = 0.32,
) -> Tensor:
    """[1, 3, size, size] picture of objects, each given by its weights of shapes, colour and place."""
    one = torch.ones(1, len(objects))
    weights = torch.tensor([list(shape) for shape, _, _ in objects])[None]
    rgb = torch.stack([PALETTE[list(COLOURS).index(str(colour))] for _, colour, _ in objects])[None]
    centre = torch.tensor([place for _, _, place in objects])[None]
    return render(opacity * one, weights, rgb, centre, radius * one, torch.full((1, 3, 2, 2), dark), size)


def pure(shape: str) -> list[float]:
    return [float(shape == other) for other in SHAPES]


def names(found: list[Detection]) -> set[tuple[str, str | None]]:
    return {(detection.name, detection.colour) for detection in found}


@pytest.mark.parametrize("dark", [0.02, 0.25])
@pytest.mark.parametrize("size", [32, 64, 128])
def test_names_every_shape_in_every_colour(size, dark):
    kinds = [(shape, colour) for shape in SHAPES for colour in COLOURS]
    images = [paint((pure(shape), colour, (0.13, -0.21)), dark=dark, size=size) for shape, colour in kinds]
    assert [names(found) for found in JUDGE.detect(torch.cat(images))] == [{kind} for kind in kinds]


@pytest.mark.parametrize("pair", [("white", "pink"), ("red", "orange"), ("orange", "yellow"), ("blue", "purple")])
def test_like_colours_stay_apart_where_objects_touch(pair):
    image = paint((pure("circle"), pair[0], (-0.31, 0.0)), (pure("square"), pair[1], (0.27, 0.0)))
    assert names(JUDGE.detect(image)[0]) == {("circle", pair[0]), ("square", pair[1])}


def test_one_blob_of_one_colour_is_no_two_objects():
    image = paint((pure("circle"), "red", (-0.2, 0.0)), (pure("circle"), "red", (0.2, 0.1)))
    assert JUDGE.detect(image) == [[]]


@pytest.mark.parametrize(
    "pair", [("circle", "square"), ("square", "triangle"), ("square", "ring"), ("square", "star"), ("triangle", "ring")]
)
def test_a_blend_of_two_shapes_is_no_detection(pair):
    between = [(a + b) / 2 for a, b in zip(pure(pair[0]), pure(pair[1]), strict=True)]
    assert JUDGE.detect(paint((between, "green", (0.0, 0.0)))) == [[]]


@pytest.mark.parametrize("colour", COLOURS)
def test_a_faded_object_loses_its_name_then_its_place(colour):
    object_ = (pure("star"), colour, (0.0, 0.0))
    assert names(JUDGE.detect(paint(object_, opacity=0.9))[0]) == {("star", colour)}
    assert names(JUDGE.detect(paint(object_, opacity=0.5))[0]) <= {("star", None)}  # a grey star is white no more
    assert JUDGE.detect(paint(object_, opacity=0.25)) == [[]]


def test_a_quarter_of_an_object_at_the_border_is_none():
    assert JUDGE.detect(paint((pure("circle"), "red", (0.98, 0.98)))) == [[]]


def test_an_empty_picture_has_nothing_and_neither_has_noise():
    static = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert JUDGE.detect(torch.cat([static, torch.full((1, 3, 32, 32), 0.1)])) == [[]] * 5


def test_boxes_are_the_objects_own():
    (found,) = JUDGE.detect(paint((pure("square"), "red", (0.4, -0.3)), radius=0.4, size=64))
    half = 0.82 * 0.4 / 2
    assert found[0].box == pytest.approx((0.7 - half, 0.65 - half, 0.7 + half, 0.65 + half), abs=0.02)


def test_neither_batch_nor_chunk_changes_a_verdict():
    prompts, named = drawn(60)
    images = render_scenes(sample_scenes(named, torch.Generator().manual_seed(1)))
    images = (images + 0.1 * torch.randn(images.shape, generator=torch.Generator().manual_seed(2))).clamp(0, 1)
    whole = JUDGE(images, prompts)
    assert 0 < whole.sum() < len(whole)
    assert torch.equal(whole, ShapesJudge(chunk=7)(images, prompts))
    assert whole.tolist() == [bool(JUDGE(image[None], [prompt])) for image, prompt in zip(images, prompts, strict=True)]
