"""Scenes show exactly what their caption names, with room around every object."""

import itertools

import pytest
import torch

from hypernoise_pl.data.geneval import TAGS
from hypernoise_pl.shapes.caption import COLOURS, SHAPES, Combination, combinations, sample_prompts
from hypernoise_pl.shapes.facts import caption_truth
from hypernoise_pl.shapes.scene import AXES, CELLS, GAP, PALETTE, SLOTS, Scenes, sample_scenes


@pytest.fixture(scope="module")
def drawn() -> tuple[Scenes, list[Combination]]:
    named = [combination for _, combination in sample_prompts("train", 900, seed=0)]
    return sample_scenes(named, torch.Generator().manual_seed(0)), named


def test_a_scene_holds_the_objects_its_caption_names_and_no_others(drawn):
    scenes, named = drawn
    for row, combination in enumerate(named):
        slots = scenes.present[row].nonzero().flatten().tolist()
        shapes = sorted(SHAPES[int(scenes.shape[row, slot])] for slot in slots)
        assert shapes == sorted(combination.shapes)
        nearest = torch.cdist(scenes.rgb[row], PALETTE).argmin(1)
        for shape, colour in zip(combination.shapes, combination.colours, strict=True):
            if colour is not None:
                slot = next(s for s in slots if SHAPES[int(scenes.shape[row, s])] == shape)
                assert list(COLOURS)[int(nearest[slot])] == colour


def test_the_exact_facts_agree(drawn):
    scenes, named = drawn
    assert caption_truth(scenes, named).diagonal().all()


def test_objects_are_inside_the_image_and_do_not_touch(drawn):
    scenes, _ = drawn
    reach = (scenes.centre.abs() + scenes.radius[..., None])[scenes.present]
    assert reach.max() <= 1
    distance = torch.cdist(scenes.centre, scenes.centre)
    room = distance - scenes.radius[:, :, None] - scenes.radius[:, None]
    pair = scenes.present[:, :, None] & scenes.present[:, None] & ~torch.eye(SLOTS, dtype=torch.bool)
    assert room[pair].min() >= GAP - 1e-5


@pytest.mark.parametrize("relation", AXES)
def test_a_relation_is_well_beyond_genevals_threshold(relation):
    scenes = sample_scenes(
        [Combination("position", ("circle", "star"), (None, None), relation)] * 200, torch.Generator().manual_seed(1)
    )
    place = scenes.present & (scenes.shape == 0), scenes.present & (scenes.shape == SHAPES.index("star"))
    offset = scenes.centre[place[0]] - scenes.centre[place[1]]
    along = (offset * torch.tensor(AXES[relation])).sum(1)
    assert (along / offset.norm(dim=1)).min() > 0.7  # the judge asks for more than 0.5


def test_every_object_lies_in_the_cell_that_is_nearest_all_in_all(drawn):
    scenes, _ = drawn
    for centre, present in zip(scenes.centre[:60], scenes.present[:60], strict=True):
        objects = centre[present]
        away = torch.cdist(objects, CELLS).square().tolist()
        ways = itertools.permutations(range(SLOTS), len(objects))
        least = min(sum(away[place][cell] for place, cell in enumerate(cells)) for cells in ways)
        kept = (objects - CELLS[present]).square().sum().item()
        assert kept == pytest.approx(least, abs=1e-5)


def test_all_that_is_left_open_varies(drawn):
    scenes, _ = drawn
    seen = scenes.present
    assert len(scenes.shape[seen].unique()) == len(SHAPES)
    assert len(torch.cdist(scenes.rgb[seen], PALETTE).argmin(1).unique()) == len(COLOURS)
    assert (seen.float().mean(0) > 0.3).all()  # no slot is favoured: every one holds objects
    assert scenes.radius[seen].std() > 0.03 and scenes.background.std() > 0.03


def test_a_seed_fixes_everything(drawn):
    scenes, named = drawn
    again = sample_scenes(named, torch.Generator().manual_seed(0))
    other = sample_scenes(named, torch.Generator().manual_seed(1))
    assert torch.equal(scenes.centre, again.centre) and torch.equal(scenes.rgb, again.rgb)
    assert not torch.equal(scenes.centre, other.centre)


def test_every_tag_finds_room_for_every_combination():
    every = [c for tag in TAGS for split in ("train", "validation", "test") for c in combinations(tag, split)]
    assert len(sample_scenes(every, torch.Generator().manual_seed(2))) == len(every) == 6 + 15 + 18 + 48 + 120 + 840
