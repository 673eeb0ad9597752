"""T2I-CompBench's prompts, image names and result files."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypernoise_pl.metrics.benchmark import Outcome, ScoredImage
from hypernoise_pl.metrics.compbench.benchmark import T2ICompBench
from hypernoise_pl.metrics.compbench.images import CompBenchImages, file_label
from hypernoise_pl.metrics.compbench.parsed_prompts import ParsedPrompt, read_parses
from hypernoise_pl.metrics.compbench.results import result_files
from hypernoise_pl.metrics.image_files import ImageFile
from hypernoise_pl.types import Prompt

NASTY = [
    "a red book and a yellow vase",
    "a sign that says 24/7",
    "a sign that says 24%2F7",
    'a "quoted" prompt, it\'s <odd>: why? *|\\',
    "a 🦊 beside a 🐻‍❄️ café",
    "../../etc/passwd",
    "trailing dots...",
    "A Red Book And A Yellow Vase",  # a twin where case does not count
    "under_score_000007",
    "two\nlines\x00",
    "x" * 300,
    "x" * 299 + "y",
    "é" * 150,
    ".",
    "a 100% cotton shirt",
]
LAYOUT = CompBenchImages()
OPTIONS = {"attributes": {}, "detector": {}, "non_spatial": {}, "chunks": "file"}


def test_every_prompt_has_files_of_its_own_and_they_are_found(tmp_path):
    prompts = [Prompt(text, "color", index=index) for index, text in enumerate(NASTY)]
    for prompt in prompts:
        for number in (0, 3, 9):
            file = tmp_path / LAYOUT.name(prompt, number)
            file.parent.mkdir(parents=True, exist_ok=True)
            assert not file.exists() and len(file.name.encode()) <= 255
            file.write_bytes(f"{prompt.index} {number}".encode())
    (tmp_path / "color" / "samples" / "a red book and a yellow vase.png").touch()
    (tmp_path / "color" / "samples" / "notes.txt").touch()
    found = LAYOUT.find(tmp_path, prompts)
    assert [image.path.read_text() for image in found] == [f"{p.index} {n}" for p in prompts for n in (0, 3, 9)]
    assert [(image.prompt, image.number) for image in found] == [(p, n) for p in prompts for n in (0, 3, 9)]
    assert all(image.path == tmp_path / image.name for image in found)
    names = [LAYOUT.name(prompt, 0).lower() for prompt in prompts]
    assert len({*names}) == len(names)  # on a file system that ignores case too


def test_an_original_folder_is_read(tmp_path):
    prompts = [
        Prompt("a dog", "shape", index=300),
        Prompt("A dog", "shape", index=301),
        Prompt("b", "shape", index=302),
    ]
    folder = tmp_path / "samples"
    folder.mkdir()
    for name in ("a dog_000000", "a dog_000012", "a dog_000002", "A dog_000000", "a dog_x", "b c_000000"):
        (folder / f"{name}.png").touch()
    found = [(image.name, image.prompt.text, image.number) for image in LAYOUT.find(tmp_path, prompts)]
    assert found == [
        ("samples/a dog_000000.png", "a dog", 0),
        ("samples/a dog_000002.png", "a dog", 1),
        ("samples/a dog_000012.png", "a dog", 2),
        ("samples/A dog_000000.png", "A dog", 0),
    ]


def test_one_category_has_the_original_numbers():
    assert LAYOUT.name(Prompt("a dog and a cat", "color", index=2), 7) == "color/samples/a dog and a cat_000027.png"
    assert LAYOUT.name(Prompt("x", index=0), 0) == "samples/x_000000.png"


def test_prompts_of_the_same_words_have_their_own_numbers(tmp_path):
    prompts = [Prompt("a dog", "color", index=index) for index in (0, 5)]
    for prompt in prompts:
        file = tmp_path / LAYOUT.name(prompt, 0)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert [(image.prompt.index, image.name[-10:-4]) for image in LAYOUT.find(tmp_path, prompts)] == [
        (0, "000000"),
        (5, "000050"),
    ]


def test_names_with_decomposed_accents_are_the_same(tmp_path):
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / (unicodedata.normalize("NFD", "a café") + "_000000.png")).touch()
    assert len(LAYOUT.find(tmp_path, [Prompt("a café")])) == 1


@given(st.text(max_size=400), st.text(max_size=400))
def test_labels_are_names_and_differ_where_prompts_do(one, other):
    labels = [file_label(one), file_label(other)]
    assert (labels[0] == labels[1]) == (one == other)
    assert all(len(label.encode()) <= 244 and "/" not in label and "\x00" not in label for label in labels)


def dataset(folder, **files):
    for name, lines in files.items():
        (folder / f"{name}.txt").write_text("\n".join(lines))
    return folder


def test_validation_prompts_are_read_and_what_cannot_be_judged_is_said(tmp_path, capsys):
    dataset(
        tmp_path,
        color_val=["a red dog and a blue cat", "a pink cup"],
        color_train=["never read"],
        color_val_seen=["never read"],
        spatial_val=["a dog on the left of a cup"],
        **{"3d_spatial_val": ["a dog behind a cup"]},
    )
    prompts = T2ICompBench.read(tmp_path, **OPTIONS)
    assert [(p.text, p.tag, p.index) for p in prompts] == [
        ("a red dog and a blue cat", "color", 0),
        ("a pink cup", "color", 1),
        ("a dog on the left of a cup", "spatial", 2),
    ]
    said = "T2I-CompBench: left out: 3d_spatial is not judged: it needs the depth of an image\n"
    assert capsys.readouterr().err == said
    assert [p.tag for p in T2ICompBench.read(tmp_path, attributes={})] == ["color", "color"]
    assert "spatial needs detector" in capsys.readouterr().err
    assert [p.tag for p in T2ICompBench.read(tmp_path, **OPTIONS, categories=["spatial"])] == ["spatial"]
    assert [p.tag for p in T2ICompBench.read(tmp_path / "color_val.txt", **OPTIONS)] == ["color", "color"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("color_train.txt", OPTIONS, "has training prompts"),
        ("colour_val.txt", OPTIONS, r"no category 'colour' \(did you mean 'color'\?\)"),
        ("spatial_val.txt", {"attributes": {}}, "no category can be judged: spatial needs detector"),
        ("3d_spatial_val.txt", OPTIONS, "3d_spatial is not judged"),
        ("nothing_at_all.jsonl", OPTIONS, "no such file"),
        ("empty", OPTIONS, r"no \*_val.txt in this folder"),
    ],
)
def test_invalid_prompt_files_are_rejected(tmp_path, name, options, message):
    dataset(tmp_path, color_train=["a"], colour_val=["a"], spatial_val=["a"], **{"3d_spatial_val": ["a"]})
    (tmp_path / "empty").mkdir()
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        T2ICompBench.read(tmp_path / name, **options)
    assert "\n" not in str(error.value)


def test_complex_prompts_know_which_parts_count(tmp_path):
    dataset(tmp_path, complex_val=["The dog is near the cup.", "The Man eats.", "The cat sits on a mat. Alone."])
    with pytest.raises(FileNotFoundError, match=r"no complex_val_spatial.txt; it tells which complex prompts"):
        T2ICompBench.read(tmp_path, **OPTIONS)
    dataset(tmp_path, complex_val_spatial=["the dog is near the cup"], complex_val_action=["The man eats.", "other"])
    prompts = T2ICompBench.read(tmp_path, **OPTIONS)
    assert [p.metadata["relations"] for p in prompts] == [["spatial"], ["action"], ["spatial", "action"]]


def test_parses_of_a_file_come_before_rules(tmp_path):
    file = tmp_path / "chunks.json"
    parsed = {"chunks": ["The dog", "the left"], "objects": ["dog", "cup"], "plain": "The dog"}
    file.write_text(json.dumps({"a dog": ["dog", "top"], "b": parsed}))
    parses = read_parses(str(file))
    assert parses["a dog"] == ParsedPrompt(["dog"]) and parses["b"] == ParsedPrompt(
        ["The dog"], ("dog", "cup"), "The dog"
    )
    assert parses["a red cup"] == ParsedPrompt(["a red cup"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1", "not JSON"),
        ("[]", "needs an object of prompts"),
        ('{"a": 3}', "prompt 'a': needs a list of chunks"),
        ('{"a": [3]}', "'chunks' must be a list of texts"),
        ('{"a": {"chunk": []}}', "needs a list of chunks, or an object of chunks, objects and plain"),
        ('{"a": {"chunks": [], "objects": ["x"]}}', "'objects' must be two texts or null"),
        ('{"a": {"chunks": [], "plain": 1}}', "'plain' must be a text or null"),
    ],
)
def test_a_bad_file_of_chunks_is_refused(tmp_path, text, message):
    (tmp_path / "chunks.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_parses(str(tmp_path / "chunks.json"))
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_parses(str(tmp_path / "none.json"))


def test_result_files_are_the_originals(tmp_path):
    def scored(name, category, value, index=0):
        prompt = Prompt("a", category, index=index)
        return ScoredImage(ImageFile(tmp_path / name, prompt, 1, name), prompt, Outcome(value))

    files = result_files(
        [
            scored("color/samples/a_000012.png", "color", 0.98765),
            scored("color/samples/a_000002.png", "color", 0.5),
            scored("any.png", "spatial", 0.75, index=4),
            scored("any.png", "numeracy", float("nan")),
        ]
    )
    assert {name: json.loads(text) for name, text in files.items()} == {
        "color/annotation_blip/vqa_result.json": [
            {"question_id": 2, "answer": "0.5000"},
            {"question_id": 12, "answer": "0.9877"},
        ],
        "spatial/labels/annotation_obj_detection_2d/vqa_result.json": [{"question_id": 41, "answer": 0.75}],
    }
