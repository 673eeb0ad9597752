"""What is called wrong is wrong, by exactly one fact, and what lies between is drawn as such."""

import random

import pytest
import torch

from hypernoise_pl.shapes.caption import SHAPES, Combination, sample_prompts
from hypernoise_pl.shapes.facts import caption_truth
from hypernoise_pl.shapes.flaws import Slots, hard_negatives, interpolate_to_flaw
from hypernoise_pl.shapes.scene import sample_scenes

KINDS = {
    "single_object": {"shape"},
    "two_object": {"shape"},
    "counting": {"shape", "count"},
    "colors": {"shape", "colour"},
    "position": {"shape", "side"},
    "color_attr": {"shape", "colour", "binding"},
}
NAMED = [combination for _, combination in sample_prompts("train", 300, seed=0)]


def facts(c: Combination) -> list[object]:
    return [len(c.shapes), sorted(set(c.shapes)), sorted(map(str, set(c.colours))), c.relation]


def test_each_tag_has_its_kinds_and_one_fact_changes():
    rng = random.Random(0)
    for combination in NAMED:
        found = hard_negatives(combination, rng)
        assert set(found) == KINDS[combination.tag]
        for kind, wrong in found.items():
            changed = [old != new for old, new in zip(facts(combination), facts(wrong), strict=True)]
            one = {"count": [1, 0, 0, 0], "shape": [0, 1, 0, 0], "colour": [0, 0, 1, 0], "side": [0, 0, 0, 1]}
            assert changed == one.get(kind, [0, 0, 0, 0]), (kind, combination, wrong)
            assert wrong != combination and wrong.tag == combination.tag


def test_wrong_captions_are_false_of_true_scenes_and_the_other_way_round():
    rng = random.Random(0)
    right, wrong = zip(*[(c, n) for c in NAMED for n in hard_negatives(c, rng).values()], strict=True)
    draws = torch.Generator().manual_seed(0)
    assert not caption_truth(sample_scenes(right, draws), wrong).diagonal().any()
    assert not caption_truth(sample_scenes(wrong, draws), right).diagonal().any()


@pytest.mark.parametrize("kind", ["none", "shape", "colour", "binding", "side", "count", "fade", "overlap"])
def test_interpolation_starts_at_the_scene_and_ends_at_the_flaw(kind):
    rng, draws = random.Random(0), torch.Generator().manual_seed(0)
    pairs = [(c, n.get(kind, c)) for c in NAMED if kind in (n := hard_negatives(c, rng)) or kind[0] in "nfo"]
    right, wrong = (list(part) for part in zip(*pairs, strict=True))
    scenes = sample_scenes(right, draws)
    start = Slots.of(scenes).render()
    away = []
    for amount in (0.0, 0.3, 1.0):
        draws = torch.Generator().manual_seed(1)
        slots = interpolate_to_flaw(scenes, right, wrong, [kind] * len(right), torch.full((len(right),), amount), draws)
        away.append((slots.render() - start).square().mean().item())
    assert away[0] == 0
    assert (away[1] > 0 and away[2] > 0) == (kind != "none")
    torch.testing.assert_close(Slots.of(scenes).render(), start)  # the scenes themselves are left alone


def test_an_unknown_kind_is_refused():
    scenes = sample_scenes(NAMED[:1], torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="kind of flaw 'blur'"):
        interpolate_to_flaw(scenes, NAMED[:1], NAMED[:1], ["blur"], torch.ones(1), torch.Generator())


def test_halfway_shapes_are_a_blend_of_two():
    one = [Combination("single_object", ("circle",), (None,))]
    other = [Combination("single_object", ("cross",), (None,))]
    scenes = sample_scenes(one, torch.Generator().manual_seed(0))
    slots = interpolate_to_flaw(scenes, one, other, ["shape"], torch.tensor([0.5]), torch.Generator())
    weights = slots.shape[0, scenes.present[0]][0]
    assert weights[[SHAPES.index("circle"), SHAPES.index("cross")]].tolist() == [0.5, 0.5]
