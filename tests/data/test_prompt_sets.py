"""Published prompt sets, tables, and what of them may be trained on."""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from hypernoise_pl.data.compbench import CompBenchFolder
from hypernoise_pl.data.files import PromptFile
from hypernoise_pl.data.geneval import TAGS, GenEvalFile
from hypernoise_pl.data.hub import HubDataset
from hypernoise_pl.data.sets import PromptSets
from hypernoise_pl.data.source import normalised

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no published prompt files in {SHARED}")


def write(folder: Path, name: str, content: str) -> PromptFile:
    (folder / name).write_text(content)
    return PromptFile(name)


@needs_shared
def test_geneval_has_the_published_prompts():
    prompts = GenEvalFile().read(SHARED)
    counts = {"single_object": 80, "two_object": 99, "counting": 80, "colors": 94, "position": 100, "color_attr": 100}
    assert Counter(prompt.tag for prompt in prompts) == counts and set(counts) == set(TAGS)
    assert [prompt.index for prompt in prompts] == list(range(553))
    assert prompts[0].metadata["include"] == [{"class": "bench", "count": 1}]


@needs_shared
def test_compbench_and_abc_6k_have_the_published_prompts():
    prompts = CompBenchFolder().read(SHARED)
    counts = Counter(prompt.tag for prompt in prompts)
    assert set(counts) == {"color", "complex", "non_spatial", "numeracy", "shape", "spatial", "texture"}
    assert all(690 <= count <= 700 for count in counts.values())
    assert [prompt.index for prompt in prompts] == list(range(len(prompts)))
    two = CompBenchFolder(categories=["shape", "color"]).read(SHARED)
    assert [prompt.text for prompt in two] == [p.text for p in prompts if p.tag in ("shape", "color")]
    assert len(PromptFile("abc-6k.txt").read(SHARED)) == 6434


@needs_shared
def test_prompts_that_published_sets_share_are_not_trained_on(capsys):
    sets = {"compbench": CompBenchFolder(), "abc": PromptFile("abc-6k.txt")}
    geneval = {"geneval": GenEvalFile()}
    data = PromptSets(sets, geneval, folder=str(SHARED))
    train = data.prompts("train")
    texts = {normalised(prompt.text) for prompt in train}
    assert len(texts) == len(train)
    assert not texts & {normalised(prompt.text) for prompt in data.prompts("test")}
    undeduplicated = PromptSets(sets, geneval, folder=str(SHARED), deduplicate=False).prompts("train")
    assert len(undeduplicated) == len(train) + sum(data.dropped.values())
    assert texts == {normalised(p.text) for p in undeduplicated} - {normalised(p.text) for p in data.prompts("test")}
    assert f"data: {len(train)} of {len(undeduplicated)} training prompts" in capsys.readouterr().err


def test_a_benchmark_prompt_is_left_out_of_training_in_any_spelling(tmp_path, capsys):
    train = write(tmp_path, "train.txt", "A  photo of a BENCH!\na photo of a café\nA red cat\na red cat.\n!?\n??\n")
    test = write(tmp_path, "test.txt", "a photo of a bench\n")
    never = write(tmp_path, "never.txt", "A photo, of a cafe\u0301\n")
    data = PromptSets({"a": train}, {"bench": test}, never_train={"cafés": never}, folder=str(tmp_path))
    assert [(p.text, p.index) for p in data.prompts("train")] == [("A red cat", 0), ("!?", 1), ("??", 2)]
    assert data.dropped == {"benchmarks": 2, "repeated": 1}
    said = capsys.readouterr().err
    assert "3 of 6 training prompts; left out: 2 that are also in bench, cafés, 1 repeated" in said
    data.prompts("train")
    assert not capsys.readouterr().err  # said once


def test_texts_with_other_numbers_or_scripts_are_different_prompts():
    assert normalised("Two cats, one dog.") == "two cats one dog"
    assert len({normalised(text) for text in ("2 cats", "3 cats", "кот", "кит", "猫")}) == 5


def test_sets_follow_each_other_and_null_leaves_a_set_out(tmp_path):
    a, b = write(tmp_path, "a.txt", "one\ntwo\n"), write(tmp_path, "b.txt", "three\n")
    test = write(tmp_path, "t.txt", "\n".join(f"prompt {number}" for number in range(10)))
    data = PromptSets({"a": a, "b": b}, {"t": test}, folder=str(tmp_path), validation_prompts=5)
    assert [p.text for p in data.prompts("train")] == ["one", "two", "three"]
    assert [p.text for p in data.prompts("validation")] == [f"prompt {number}" for number in range(0, 10, 2)]
    assert [p.index for p in data.prompts("validation")] == list(range(5))
    assert len(data.prompts("test")) == 10  # the validation sets, whole
    assert [p.text for p in PromptSets({"a": a, "b": None}, {"t": test}, folder=str(tmp_path)).prompts("train")] == [
        "one",
        "two",
    ]
    less = PromptSets({"a": a, "b": b}, {"t": test}, leave_out=["a"], folder=str(tmp_path))
    assert [p.text for p in less.prompts("train")] == ["three"]
    with pytest.raises(ValueError, match=r"data\.leave_out: no training set is called 'c'"):
        PromptSets({"a": a}, {"t": test}, leave_out=["c"], folder=str(tmp_path))
    with pytest.raises(ValueError, match=r"data\.train: names no prompt set"):
        PromptSets({"a": None}, {"t": test}, folder=str(tmp_path))
    with pytest.raises(ValueError, match="every training prompt is also a validation or test prompt"):
        PromptSets({"a": a}, {"a": a}, folder=str(tmp_path)).prompts("train")


def test_a_missing_file_is_reported_at_construction_or_on_first_use(tmp_path):
    sets = {"a": PromptFile("gone.txt")}
    with pytest.raises(FileNotFoundError, match=r"gone\.txt"):
        PromptSets(sets, sets, folder=str(tmp_path))
    data = PromptSets(sets, sets, folder=str(tmp_path), check=False)
    with pytest.raises(FileNotFoundError, match=r"gone\.txt"):
        data.prompts("test")


def test_tables_and_lists_are_read_by_column_and_key(tmp_path):
    import pyarrow
    import pyarrow.parquet

    (tmp_path / "p.csv").write_text('Prompts,Category\n"a cat, a dog",Colors\nb,Counting\n')
    prompts = PromptFile("p.csv", "Prompts", "Category").read(tmp_path)
    assert [(p.text, p.tag, p.index) for p in prompts] == [("a cat, a dog", "Colors", 0), ("b", "Counting", 1)]
    (tmp_path / "p.tsv").write_text('Prompt\tNote\na "b\t\nc\tx\n'.replace('"', "'"))
    assert [p.text for p in PromptFile("p.tsv", "Prompt").read(tmp_path)] == ["a 'b", "c"]
    texts = [f"text {number}" for number in range(20_000)]
    table = pyarrow.table({"caption": texts, "image": [b"\xff"] * len(texts)})
    pyarrow.parquet.write_table(table, tmp_path / "p.parquet")
    prompts = PromptFile("p.parquet", "caption").read(tmp_path)
    assert [p.text for p in prompts] == texts and prompts[-1].index == 19_999
    for content in ('["a", {"prompt": "b", "tag": "t"}]', '{"0": "a", "1": {"prompt": "b", "tag": "t"}}'):
        (tmp_path / "p.json").write_text(content)
        assert [(p.text, p.tag) for p in PromptFile("p.json").read(tmp_path)] == [("a", ""), ("b", "t")]


GENEVAL = {"tag": "colors", "include": [{"class": "cat", "count": 1}], "prompt": "a cat"}


@pytest.mark.parametrize(
    ("source", "name", "content", "complaint"),
    [
        (PromptFile("a.csv", "Prompt"), "a.csv", "Prompts\nx\n", "a.csv: no column is called 'Prompt' (did you mean"),
        (PromptFile("a.csv"), "a.csv", "prompt,n\nx,1\n,2\n", "a.csv, line 3: nothing in column 'prompt'"),
        (PromptFile("a.csv"), "a.csv", 'prompt\n"x\n', "a.csv, line 2: not CSV"),
        (PromptFile("a.csv"), "a.csv", "prompt\n", "a.csv: empty"),
        (PromptFile("a.parquet"), "a.parquet", "no table", "a.parquet: not Parquet"),
        (PromptFile("a.json"), "a.json", '["x",\n "y"', "a.json, line 2: not JSON"),
        (PromptFile("a.json"), "a.json", '["x", 3]', 'a.json, item 2: needs an object with a text "prompt"'),
        (PromptFile("a.json"), "a.json", '"x"', "a.json: needs a list of prompts, or a mapping"),
        (PromptFile("a.png"), "a.png", "x", "a.png: the ending must be one of .txt"),
        (GenEvalFile("g.jsonl"), "g.jsonl", json.dumps(GENEVAL | {"tag": "colour"}), "prompt 1: unknown tag 'colour'"),
        (
            GenEvalFile("g.jsonl"),
            "g.jsonl",
            json.dumps(GENEVAL | {"include": []}),
            "prompt 1: 'include' must be a list",
        ),
        (
            GenEvalFile("g.jsonl"),
            "g.jsonl",
            json.dumps(GENEVAL) + "\n" + json.dumps(GENEVAL | {"exclude": [{"class": "cat", "count": 0}]}),
            "prompt 2: exclude: a clause needs a count of at least 1, got 0",
        ),
        (
            GenEvalFile("g.jsonl"),
            "g.jsonl",
            json.dumps(GENEVAL | {"include": [{"class": "cat", "count": 1, "position": ["left of", 1]}]}),
            "include: a position is [relation, index of an earlier clause]",
        ),
        (CompBenchFolder(".", "val"), "color_train.txt", "x", "no *_val.txt in this folder"),
        (CompBenchFolder(".", categories=["colour"]), "color_train.txt", "x", "no category 'colour' (did you mean"),
    ],
)
def test_an_invalid_set_is_named_with_its_line(tmp_path, source, name, content, complaint):
    (tmp_path / name).write_text(content)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        source.check(tmp_path)
    assert complaint in str(error.value) and "\n" not in str(error.value)


def test_a_parquet_row_without_text_is_named(tmp_path):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"prompt": ["x", None]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet, row 2: no text in column 'prompt', but None"):
        PromptFile("a.parquet").read(tmp_path)


def test_a_hub_set_without_its_package_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"data set owner/set: needs the package datasets") as error:
        PromptSets({"hub": HubDataset("owner/set")}, {"hub": HubDataset("owner/set")})
    assert "\n" not in str(error.value)


def test_a_hub_set_is_read_by_column_with_each_prompt_once(tmp_path, capsys):
    pytest.importorskip("datasets", reason="the package datasets is not installed")
    (tmp_path / "train.csv").write_text("caption,n\na cat,1\na dog,2\na cat,3\n")
    source = HubDataset(str(tmp_path), column="caption")
    assert [p.text for p in source.read(tmp_path)] == ["a cat", "a dog"]
    shown = capsys.readouterr()
    assert shown.out == f"data: fetching {tmp_path}\n" and "\r" not in shown.err
    with pytest.raises(ValueError, match="no column is called 'captoin'"):
        HubDataset(str(tmp_path), column="captoin").read(tmp_path)
