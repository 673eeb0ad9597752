"""Rewards over sets of prompts: the published files' formats, figures by category, and real words read in pictures."""

from __future__ import annotations

import itertools
import json
import math
import sys
from pathlib import Path

import pytest
import torch
import yaml

from hypernoise_pl.config.files import PACKAGE, benchmark_names, conf_folder
from hypernoise_pl.data.hub import HubDataset
from hypernoise_pl.metrics.benchmark import summarise_outcomes
from hypernoise_pl.metrics.reward_set import RewardSet
from hypernoise_pl.rewards.clip import CLIPScore
from hypernoise_pl.rewards.ocr import TextAccuracy
from hypernoise_pl.rewards.pixels import Brightness, Redness
from hypernoise_pl.types import Prompt
from tests.rewards.words import picture

SHIPPED = ("drawbench", "hpsv2", "parti_prompts", "shapes_rewards", "t2i_compbench", "text_rendering")


def read(file, **options):
    return [(prompt.text, prompt.tag, prompt.index) for prompt in RewardSet.read(file, **options)]


def test_drawbench(tmp_path):
    file = tmp_path / "drawbench.csv"
    file.write_bytes(
        "\ufeffPrompts,Category\r\nA red colored car.,Colors\r\n"
        '"A sign that says ""Hello, World"".",Text\r\n"A bird, a cat.",Colors\r\n'.encode()
    )
    assert read(file) == [
        ("A red colored car.", "Colors", 0),
        ('A sign that says "Hello, World".', "Text", 1),
        ("A bird, a cat.", "Colors", 2),
    ]


def test_parti_prompts_by_category_or_challenge(tmp_path):
    file = tmp_path / "PartiPrompts.tsv"
    file.write_text("Prompt\tCategory\tChallenge\tNote\nbond\tAbstract\tBasic\tConcept\na, b\tAnimals\tStyle\t\n")
    assert read(file) == read(file, tag="Category") == [("bond", "Abstract", 0), ("a, b", "Animals", 1)]
    assert read(file, tag="Challenge") == [("bond", "Basic", 0), ("a, b", "Style", 1)]
    with pytest.raises(ValueError, match=r"no column is called 'Chalenge' \(did you mean 'Challenge'\?\)"):
        read(file, tag="Chalenge")


def test_hpsv2_has_a_list_a_style(tmp_path):
    for style in ("photo", "anime", "concept-art", "paintings"):
        (tmp_path / f"{style}.json").write_text(json.dumps([f"{style} one", f"{style} “two”"]))
    (tmp_path / "notes.txt").write_text("not a list")
    found = read(tmp_path)
    (tmp_path / "own.json").write_text(json.dumps([{"prompt": "a", "tag": "b"}, {"prompt": "c"}]))
    assert read(tmp_path)[2:4] == found[2:4] and read(tmp_path)[4:6] == [("a", "b", 4), ("c", "own", 5)]
    assert [tag for _, tag, _ in found] == [s for s in ("anime", "concept-art", "paintings", "photo") for _ in "12"]
    assert [index for _, _, index in found] == [*range(8)] and found[3][0] == "concept-art “two”"


def test_other_files_of_prompts(tmp_path):
    file = tmp_path / "own.jsonl"
    file.write_text('{"prompt": "a", "tag": "x", "id": 3}\n{"prompt": "b"}\n')
    assert read(file) == [("a", "x", 0), ("b", "", 1)]
    file = tmp_path / "plain.txt"
    file.write_text("a\nb\n")
    assert read(file) == [("a", "", 0), ("b", "", 1)]
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no \*.json in it"):
        read(tmp_path / "empty")


def test_a_set_of_the_hub_is_read_with_its_categories(tmp_path, monkeypatch):
    pytest.importorskip("datasets", reason="the package datasets is not installed")
    (tmp_path / "owner" / "set").mkdir(parents=True)
    (tmp_path / "owner" / "set" / "train.csv").write_text("Prompt,Category,Challenge\na,x,y\nb,z,y\na,w,w\n")
    monkeypatch.chdir(tmp_path)
    found = HubDataset("owner/set", None).read(Path())
    assert [(p.text, p.tag) for p in found] == [("a", "x"), ("b", "z")]
    assert [p.tag for p in HubDataset("owner/set", "Prompt", tag="Challenge").read(Path())] == ["y", "y"]
    assert [p.tag for p in HubDataset("owner/set", "Prompt").read(Path())] == ["", ""]
    with pytest.raises(ValueError, match=r"no column is called 'Catgory' \(did you mean 'Category'"):
        HubDataset("owner/set", "Prompt", tag="Catgory").read(Path())


def test_a_name_without_a_file_is_asked_of_the_hub(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="data set owner/set: needs the package datasets"):
        RewardSet.read(Path("owner/set"))
    with pytest.raises(FileNotFoundError):
        RewardSet.read(tmp_path / "none")


def test_values_are_the_main_rewards_and_every_reward_is_a_figure():
    torch.manual_seed(0)
    images = torch.rand(4, 3, 8, 8)
    prompts = [Prompt("a", tag, index=index) for index, tag in enumerate(("x", "x", "y", "y"))]
    bright, red = Brightness()(images, ["a"] * 4), Redness()(images, ["a"] * 4)
    for main, own in ((None, bright), ("red", red)):
        outcomes = RewardSet({"bright": Brightness(), "red": Redness()}, main)(images, prompts)
        assert [outcome.value for outcome in outcomes] == pytest.approx(own.tolist())
        figures = summarise_outcomes(outcomes, prompts)
        assert [*figures] == ["score", "bright", "red"]
        assert figures["score"]["mean"] == pytest.approx(own.mean().item())
        assert figures["red"]["tags"] == {
            "x": pytest.approx(red[:2].mean().item()),
            "y": pytest.approx(red[2:].mean().item()),
        }


def test_real_words_are_read_and_what_quotes_none_is_left_out():
    images = torch.stack([picture("OPEN"), picture("OPEN"), picture("OPEN")])
    prompts = [Prompt(text, "sign", index=i) for i, text in enumerate(['says "OPEN"', 'says "OVEN"', "an open door"])]
    outcomes = RewardSet({"ocr": TextAccuracy(), "bright": Brightness()})(images, prompts)
    assert [outcome.value for outcome in outcomes[:2]] == [1, 0.75] and math.isnan(outcomes[2].value)
    assert [outcome.reason for outcome in outcomes] == ["", "", "no score of ocr"]
    assert [*outcomes[2].figures] == ["bright"]
    figures = summarise_outcomes(outcomes, prompts)
    assert figures["score"]["mean"] == figures["ocr"]["mean"] == pytest.approx(0.875)
    assert (figures["ocr"]["left_out"], figures["bright"]["left_out"]) == (1, 0)


def test_models_are_frozen_and_named():
    clip = str(PACKAGE / "shapes" / "weights" / "clip")
    judged = RewardSet({"clip": CLIPScore(clip), "ocr": TextAccuracy()}, title="Mine")
    assert judged.title == "Mine" and RewardSet({"bright": Brightness()}).title == "Reward set"
    assert judged.judged_by() == f"clip: CLIPScore {clip}, ocr: TextAccuracy"
    assert not any(parameter.requires_grad for parameter in judged.parameters())
    assert judged.missing() is None


def test_what_a_verifier_needs_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", None)
    judged = RewardSet({"bright": Brightness(), "ocr": TextAccuracy()})
    assert "pip install 'hypernoise_pl[ocr]'" in (judged.missing() or "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"verifiers": {}}, "needs a verifier"),
        ({"verifiers": {"bright": Brightness()}, "main": "brigth"}, r"main is 'brigth' \(did you mean 'bright'\?\)"),
        ({"verifiers": {"a.b": Brightness()}}, "cannot be called 'a.b'"),
        ({"verifiers": {"train": Brightness()}}, "cannot be called 'train'"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        RewardSet(**arguments)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_key_of_a_shipped_benchmark_is_explained(name):
    text = (conf_folder() / "benchmarks" / f"{name}.yaml").read_text()
    lines = text.split("\n")
    assert lines[0].startswith("# ") and len(lines[0]) - 2 <= 52
    assert {*yaml.safe_load(text)} == {"benchmark"} and name in benchmark_names()
    for before, line in itertools.pairwise(lines):
        key = line.strip().partition(":")[0]
        if key and not key.startswith("#") and key not in ("benchmark", "init_args", "class_path"):
            assert before.strip().startswith("#") or "#" in line or " class_path:" in line, f"{name}: {line}"
        assert len(line) <= 122
