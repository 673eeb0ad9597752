"""Captions: disjoint splits, GenEval's metadata, words the tokenizer knows."""

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from hypernoise_pl.data.geneval import TAGS
from hypernoise_pl.shapes.caption import (
    Combination,
    combinations,
    metadata,
    plural,
    sample_prompts,
    vocabulary,
    write_caption,
)
from hypernoise_pl.shapes.prompts import ShapesPrompts

SPLITS = ("train", "validation", "test")
ROOT = Path(__file__).parents[2]
GENEVAL = Path(os.environ.get("HYPERNOISE_DATA", ROOT.parent / "shared" / "data")) / "geneval"


@pytest.mark.parametrize("tag", TAGS)
def test_splits_share_no_combination_and_none_is_empty(tag):
    parts = [set(combinations(tag, split)) for split in SPLITS]
    assert all(parts) and len(parts[0]) > len(parts[1]) + len(parts[2])
    assert len(set.union(*parts)) == sum(map(len, parts))


def test_prompts_of_different_splits_never_read_alike():
    texts = [{prompt.text for prompt in ShapesPrompts().prompts(split)} for split in SPLITS]
    assert not texts[0] & texts[1] and not texts[0] & texts[2] and not texts[1] & texts[2]


def test_prompts_are_fixed_numbered_and_of_the_six_tags_in_equal_shares():
    data = ShapesPrompts(train=60, validation=30, test=12)
    prompts = {split: data.prompts(split) for split in SPLITS}
    assert prompts == {split: ShapesPrompts(60, 30, 12, seed=9).prompts(split) for split in SPLITS}
    for split, count in zip(SPLITS, (60, 30, 12), strict=True):
        assert [p.index for p in prompts[split]] == list(range(count))
        assert [[p.tag for p in prompts[split]].count(tag) for tag in TAGS] == [count // 6] * 6


def test_combinations_come_equally_often():
    drawn = [c for _, c in sample_prompts("train", 6 * 3 * 12, seed=0) if c.tag == "counting"]
    assert {drawn.count(c) for c in combinations("counting", "train")} == {3}


def test_an_unknown_tag_or_split_is_refused():
    with pytest.raises(ValueError, match="tag 'colour'"):
        combinations("colour", "train")
    with pytest.raises(ValueError, match="split 'dev'"):
        combinations("colors", "dev")  # type: ignore[arg-type]


def test_every_word_is_in_the_vocabulary():
    words, rng = set(vocabulary()), random.Random(0)
    for tag in TAGS:
        for split in SPLITS:
            for combination in combinations(tag, split):
                assert set(write_caption(combination, rng).split()) <= words


def test_wording_varies_and_states_the_facts():
    rng = random.Random(0)
    combination = Combination("color_attr", ("star", "cross"), ("orange", "red"))
    said = {write_caption(combination, rng) for _ in range(200)}
    assert len(said) > 30
    for text in said:
        assert ("an orange star" in text or "a star that is orange" in text) and ("red" in text and "cross" in text)
    assert any(text.find("cross") < text.find("star") for text in said)  # in either order


def test_plurals():
    assert [plural(shape) for shape in ("cross", "star")] == ["crosses", "stars"]


def test_metadata_of_each_tag():
    assert metadata(Combination("counting", ("star",) * 3, (None,) * 3)) == {
        "include": [{"class": "star", "count": 3}],
        "exclude": [{"class": "star", "count": 4}],
    }
    assert metadata(Combination("position", ("star", "ring"), (None, None), "above")) == {
        "include": [{"class": "ring", "count": 1}, {"class": "star", "count": 1, "position": ["above", 0]}]
    }
    assert metadata(Combination("colors", ("star",), ("red",))) == {
        "include": [{"class": "star", "count": 1, "color": "red"}]
    }


def schema(value: Any) -> Any:
    """Types in the place of values; relation names, which are shared, stay."""
    if isinstance(value, dict):
        return tuple(sorted((key, schema(part)) for key, part in value.items()))
    if isinstance(value, list):
        return tuple(schema(part) for part in value)
    return value if value in ("left of", "right of", "above", "below") else type(value).__name__


@pytest.mark.skipif(not GENEVAL.is_dir(), reason=f"GenEval's file is not at {GENEVAL}; HYPERNOISE_DATA says where")
def test_metadata_has_the_schema_of_genevals_file():
    lines = [json.loads(line) for line in (GENEVAL / "evaluation_metadata.jsonl").read_text().splitlines()]
    theirs: dict[str, set[Any]] = {tag: set() for tag in TAGS}
    for line in lines:
        theirs[line["tag"]].add(schema({key: line[key] for key in ("include", "exclude") if key in line}))
    ours: dict[str, set[Any]] = {tag: set() for tag in TAGS}
    for prompt, _ in sample_prompts("train", 1200, seed=0):
        ours[prompt.tag].add(schema(dict(prompt.metadata)))
    assert ours == theirs
