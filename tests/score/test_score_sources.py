"""``score`` reads images as they lie, and gives the figure that was drawn into them."""

import json
from pathlib import Path

import pytest

from hypernoise_pl.metrics.image_files import GenEvalFolder
from hypernoise_pl.metrics.questions.geneval2 import GenEval2Folder
from hypernoise_pl.score.sources import find_images
from hypernoise_pl.types import Prompt
from tests.score.drawn import PROMPTS, metadata, picture, score, score_of, write_folder, write_lines

pytestmark = pytest.mark.usefixtures("own_folder")

KEYS = {"benchmark", "title", "judged_by", "caveat", "binary", "images_from", "score", "interval", "tags", "figures"}
KEYS |= {"images", "correct", "prompts", "prompts_of", "correct_images", "correct_prompts", "no_value"}
KEYS |= {"images_left_out", "lines_left_out", "left_out"}


@pytest.mark.parametrize("digits", [4, 5], ids=["0000.png", "00000.png"])
@pytest.mark.parametrize("beside", [True, False], ids=["metadata beside", "metadata of a file"])
def test_geneval_folder_is_read(beside, digits, capsys):
    verdicts = write_folder(Path("images"), beside, digits)
    write_lines(Path("all.jsonl"), [*map(metadata, PROMPTS)])
    summary = score("images", *([] if beside else ["--metadata=all.jsonl"]))
    assert set(summary) == KEYS
    assert summary["score"] == pytest.approx(score_of(verdicts), abs=1e-12)
    assert (summary["images"], summary["prompts"], summary["prompts_of"], summary["left_out"]) == (24, 12, 12, [])
    assert summary["correct"] == sum(verdicts.values()) == 16 and summary["correct_prompts"] == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "24 images of 12 of 12 prompts; 1.000 of these prompts have a correct image." in said


def test_images_with_a_different_or_missing_prompt_are_left_out_by_name():
    verdicts = write_folder(Path("images"))
    Path("images/00001/metadata.jsonl").write_text(json.dumps(metadata(PROMPTS[4])) + "\n")
    Path("images/00002/metadata.jsonl").write_text('{"prompt": ')
    Path("images/00003").rename("images/00099")
    write_lines(Path("all.jsonl"), [*map(metadata, PROMPTS)])
    summary = score("images", "--metadata=all.jsonl")
    kept = {place: right for place, right in verdicts.items() if place[0] not in (1, 2, 3)}
    assert summary["score"] == pytest.approx(score_of(kept), abs=1e-12) and summary["images"] == len(kept)
    why = {left["image"]: left["why"] for left in summary["left_out"]}
    assert len(why) == summary["images_left_out"] == 8
    for number in (0, 1):
        end = f"samples/000{number}.png"
        assert why[f"00001/{end}"] == f"its prompt is {PROMPTS[4].text!r}, the benchmark has {PROMPTS[1].text!r}"
        assert "00002/metadata.jsonl beside it" in why[f"00002/{end}"] and "not JSON" in why[f"00002/{end}"]
        assert why[f"00099/{end}"] == "the benchmark has no prompt of this number"
        assert why[f"00003/{end}"] == "no such file"


def test_images_without_metadata_are_named_if_others_have_it():
    write_folder(Path("images"))
    Path("images/00007/metadata.jsonl").unlink()
    summary = score("images")
    assert summary["prompts_of"] == 11 and summary["images"] == 22
    assert [(left["image"], left["why"]) for left in summary["left_out"]] == [
        (f"00007/samples/000{number}.png", "no prompt beside it") for number in (0, 1)
    ]


def rows_of(metadata_too: bool) -> list[dict]:
    rows = []
    for prompt in PROMPTS:
        for number in (0, 1):
            picture(prompt.index, number == 0).save(f"data/{prompt.index}-{number}.png")
            row = {"id": prompt.index, "prompt": prompt.text, "image_path": f"{prompt.index}-{number}.png"}
            rows.append(row | (metadata(prompt) if metadata_too else {}))
    return rows


@pytest.mark.parametrize("metadata_too", [True, False], ids=["in the rows", "of a file"])
def test_paths_of_a_list_are_relative_to_its_folder(metadata_too):
    Path("data").mkdir()
    write_lines(Path("all.jsonl"), [*map(metadata, PROMPTS)])
    rows = rows_of(metadata_too)
    write_lines(Path("data/images.jsonl"), rows[::-1])  # in any order
    summary = score("data/images.jsonl", *([] if metadata_too else ["--metadata=all.jsonl"]))
    assert (summary["images"], summary["prompts"], summary["score"]) == (24, 12, 0.5)
    if not metadata_too:
        rows += [{"prompt": "a dragon", "image_path": "0-0.png"}, {"prompt": "a dragon"}, rows[0]]
        rows[-2] = {"prompt": 3, "image_path": "0-0.png"}
        write_lines(Path("data/more.jsonl"), [*rows, {"prompt": "a castle", "image_path": "1-0.png"}])
        more = score("data/more.jsonl", "--metadata=all.jsonl", output="more")
        assert (more["score"], more["images"], more["images_left_out"], more["lines_left_out"]) == (0.5, 24, 2, 1)
        assert [(left["line"], left["why"]) for left in more["left_out"]] == [
            (25, "the benchmark has no prompt 'a dragon'"),
            (26, 'needs the texts "prompt" and "image_path"'),
            (27, "duplicate of line 1, which is scored"),
            (28, "the benchmark has no prompt 'a castle'"),
        ]


def test_rows_of_equal_text_share_a_prompt_unless_ids_or_metadata_differ():
    one = metadata(PROMPTS[0])
    other = one | {"include": [{"class": "star", "count": 1}]}
    picture(0).save("a.png")
    picture(0, False).save("b.png")
    rows = [one | {"image_path": "a.png"}, one | {"image_path": "b.png"}, other | {"image_path": "c.png"}]
    picture(0).save("c.png")
    found = find_images(write_lines(Path("rows.jsonl"), rows), GenEval2Folder(), None)
    assert [(image.prompt.index, image.number) for image in found.files] == [(0, 0), (0, 1), (1, 0)]
    summary = score("rows.jsonl")
    assert (summary["correct"], summary["images"], summary["prompts"]) == (1, 3, 2)  # c.png is no star
    rows = [{"id": "p1", "prompt": one["prompt"], "image_path": name} for name in ("a.png", "b.png")]
    found = find_images(
        write_lines(Path("rows.jsonl"), rows),
        GenEval2Folder(),
        [Prompt(one["prompt"], metadata={"id": f"p{number}"}, index=number) for number in (0, 1)],
    )
    assert [(image.prompt.index, image.number) for image in found.files] == [(1, 0), (1, 1)]


def test_image_of_two_prompts_is_judged_for_both():
    picture(0).save("ring.png")
    rows = [metadata(PROMPTS[0]), metadata(PROMPTS[1])]
    write_lines(Path("rows.jsonl"), [row | {"image_path": "ring.png"} for row in rows])
    summary = score("rows.jsonl")
    assert {tag: own["score"] for tag, own in summary["tags"].items()} == {"single_object": 1.0, "two_object": 0.0}


def test_methods_are_scored_separately_and_compared_in_pairs():
    rows = []
    for prompt in PROMPTS:
        for method, right in (("old", prompt.index % 2 == 0), ("../new", prompt.index % 4 != 1)):
            name = f"{prompt.index}-{len(rows)}.png"
            picture(prompt.index, right).save(name)
            rows.append(metadata(prompt) | {"image_path": name, "method": method})
    Path(rows[3]["image_path"]).unlink()  # of the second prompt, by the second method, where both are wrong
    write_lines(Path("rows.jsonl"), rows)
    summary = score("rows.jsonl", benchmark="shapes_questions")
    assert set(summary["methods"]) == {"old", "../new"} and summary["images_left_out"] == 1
    assert summary["left_out"] == [
        {"image": rows[3]["image_path"], "line": None, "why": "no such file", "method": "../new"}
    ]
    assert summary["gains"]["../new"]["images"] == 11
    assert {str(file) for file in Path("out").rglob("questions.jsonl")} == {
        "out/old/questions.jsonl",
        "out/..%2Fnew/questions.jsonl",
    }
    alone = score("rows.jsonl", "--method=old", output="alone")
    assert (alone["score"], alone["left_out"]) == (0.5, [])


def test_geneval2_is_read_from_its_json_of_paths():
    Path("paths.json").write_text(json.dumps({PROMPTS[0].text: "a.png", "nothing": "b.png"}))
    (image,) = find_images(Path("paths.json"), GenEval2Folder(), PROMPTS).files
    assert (image.name, image.prompt) == ("a.png", PROMPTS[0])
    with pytest.raises(ValueError, match="neither a folder nor a JSONL file"):
        find_images(Path("paths.json"), GenEvalFolder(), PROMPTS)
