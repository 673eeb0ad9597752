"""``score geneval``: verdicts and reasons of any detector's output, held against a second reading of the procedure."""

import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hypernoise_pl.__main__ import main
from hypernoise_pl.metrics.geneval.classes import class_names
from hypernoise_pl.metrics.geneval.rules import COLOURS
from tests.metrics.original_geneval import reread

DATA = Path(os.environ.get("HYPERNOISE_DATA", Path(__file__).parents[3] / "shared" / "data"))
PUBLISHED = DATA / "geneval" / "evaluation_metadata.jsonl"
needs_published = pytest.mark.skipif(not PUBLISHED.is_file(), reason=f"no {PUBLISHED}")
Objects = list[dict[str, Any]]

pytestmark = pytest.mark.usefixtures("own_folder")

METADATA = [
    {"tag": "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a photo of a bench"},
    {
        "tag": "counting",
        "include": [{"class": "computer mouse", "count": 2}],
        "exclude": [{"class": "computer mouse", "count": 3}],
        "prompt": "a photo of two computer mouses",
    },
    {"tag": "colors", "include": [{"class": "car", "count": 1, "color": "red"}], "prompt": "a photo of a red car"},
    {
        "tag": "position",
        "include": [{"class": "cow", "count": 1}, {"class": "dog", "count": 1, "position": ["left of", 0]}],
        "prompt": "a photo of a dog left of a cow",
    },
]


def published() -> list[dict[str, Any]]:
    return [json.loads(line) for line in PUBLISHED.read_text().splitlines()]


def box(x: float, y: float, size: float = 40) -> list[float]:
    return [x - size / 2, y - size / 2, x + size / 2, y + size / 2]


def true_objects(metadata: dict[str, Any]) -> Objects:
    """Objects that satisfy every clause."""
    objects: Objects = []
    for place, clause in enumerate(metadata["include"]):
        steps = {"left of": (-200, 0), "right of": (200, 0), "above": (0, -200), "below": (0, 200)}
        x, y = steps[clause["position"][0]] if "position" in clause else (0, 100 * place)
        for number in range(clause["count"]):
            colour = {"color": clause["color"]} if "color" in clause else {}
            objects.append(
                {"class": clause["class"], "score": 0.95, "box": box(300 + x + 5 * number, 300 + y)} | colour
            )
    return objects


def random_objects(metadata: dict[str, Any], rng: random.Random) -> Objects:
    """Objects that nearly satisfy the clauses, and others; of all scores, colours and places."""
    objects: Objects = []
    steady = rng.random() < 0.5  # whether scores pass the threshold of counting
    for clause in metadata["include"]:
        count = rng.choice([0, 20, *[clause["count"]] * 6, clause["count"] + 1, max(0, clause["count"] - 1)])
        for _ in range(count):
            score = rng.choice([0.95, rng.uniform(0.9, 1)]) if steady else rng.choice([0.3, 0.9, rng.random()])
            colour = clause["color"] if "color" in clause and rng.random() < 0.6 else rng.choice(COLOURS)
            place = box(rng.uniform(0, 512), rng.uniform(0, 512), rng.uniform(1, 300))
            objects.append({"class": clause["class"], "score": score, "box": place, "color": colour})
    for _ in range(rng.randrange(4)):
        objects.append({"class": rng.choice(class_names()), "score": rng.random(), "box": box(9, 9), "color": "red"})
    rng.shuffle(objects)
    return objects


def lines_of(images: list[Objects], number: int = 0) -> list[str]:
    """A line an image, one image a prompt."""
    return [
        json.dumps({"filename": f"{place:05}/samples/{number:04}.png", "objects": objects})
        for place, objects in enumerate(images)
    ]


def scored(
    lines: list[str], metadata: list[dict[str, Any]] | None = None, output: str = "scored", *flags: str
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Results and summary that the command writes."""
    given(lines, metadata)
    assert main([*COMMAND, "--output", output, *flags]) == 0
    results = [json.loads(line) for line in Path(output, "results.jsonl").read_text().splitlines()]
    return results, json.loads(Path(output, "summary.json").read_text())


COMMAND = ["score", "geneval", "--detections=detections.jsonl", "--metadata=evaluation_metadata.jsonl"]


def given(lines: list[str], metadata: list[dict[str, Any]] | None = None) -> None:
    Path("detections.jsonl").write_text("".join(f"{line}\n" for line in lines))
    text = "".join(f"{json.dumps(line)}\n" for line in (METADATA if metadata is None else metadata))
    Path("evaluation_metadata.jsonl").write_text(text)


@needs_published
def test_verdicts_and_reasons_equal_a_second_implementation_on_every_prompt():
    metadata, rng = published(), random.Random(0)
    assert len(metadata) == 553
    sets = [[random_objects(line, rng) for line in metadata] for _ in range(6)]
    results, summary = scored(
        [line for number, images in enumerate(sets) for line in lines_of(images, number)], metadata
    )
    assert len(results) == 6 * 553 and summary["left_out"] == []
    for result in results:
        place, number = int(result["filename"][:5]), int(result["filename"][14:18])
        correct, reason = reread(sets[number][place], metadata[place])
        assert (result["correct"], result["reason"]) == (correct, reason), (metadata[place], sets[number][place])
    reasons = [line for result in results for line in result["reason"].split("\n") if line]
    kinds = (
        ">=2, found 1",
        "; and 1 ",
        "no target for",
        "of target, found ",
        "found  target",
        " and above target",
        "<3, f",
    )
    for words in kinds:
        assert sum(words in reason for reason in reasons) >= 5, words
    right = Counter(result["tag"] for result in results if result["correct"])
    assert min(right[tag] for tag in summary["tags"]) >= 10, right


@needs_published
def test_satisfied_clauses_give_one_and_a_missing_object_gives_zero():
    metadata = published()
    results, summary = scored(lines_of([true_objects(line) for line in metadata]), metadata)
    assert summary["score"] == 1 and {tag["score"] for tag in summary["tags"].values()} == {1}
    assert {result["reason"] for result in results} == {""}
    rng = random.Random(0)
    lacking = [rng.sample(objects, len(objects) - 1) for objects in map(true_objects, metadata)]
    _, summary = scored(lines_of(lacking), metadata, "lacking")
    assert summary["score"] == 0 and {tag["score"] for tag in summary["tags"].values()} == {0}


@needs_published
def test_the_order_of_lines_changes_nothing():
    metadata, rng = published(), random.Random(1)
    lines = [line for number in (0, 1) for line in lines_of([random_objects(each, rng) for each in metadata], number)]
    first = scored(lines, metadata)
    rng.shuffle(lines)
    assert scored(lines, metadata, "shuffled") == first


@needs_published
def test_the_score_is_the_mean_over_tags_of_the_share_of_correct_images():
    metadata, rng = published(), random.Random(2)
    lines = lines_of([random_objects(each, rng) for each in metadata])
    results, summary = scored(lines[:250], metadata)
    shares = []
    for tag in dict.fromkeys(result["tag"] for result in results):
        own = [result["correct"] for result in results if result["tag"] == tag]
        shares.append(sum(own) / len(own))
        assert summary["tags"][tag]["score"] == pytest.approx(shares[-1])
        low, high = summary["tags"][tag]["interval"]
        assert low <= shares[-1] <= high
    assert 0 < len(shares) < 6 and summary["score"] == pytest.approx(sum(shares) / len(shares))
    low, high = summary["interval"]
    assert low < summary["score"] < high and high - low < 0.2
    assert summary["images_left_out"] == 303 and (summary["prompts"], summary["prompts_of"]) == (250, 553)
    assert summary["tags"]["color_attr"] == {"score": None, "interval": None, "images": 0, "correct": 0, "prompts": 0}


def test_results_have_the_format_of_the_reference_evaluation():
    objects = [*true_objects(METADATA[0]), {"class": "mouse", "score": 0.4, "box": [0, 1, 2, 3.5]}]
    results, _ = scored(lines_of([objects]))
    assert [*results[0]] == ["filename", "tag", "prompt", "correct", "reason", "metadata", "details"]
    assert results[0]["filename"] == "00000/samples/0000.png"
    assert (results[0]["correct"], results[0]["reason"]) == (True, "")
    assert results[0]["metadata"] == json.dumps(METADATA[0])
    details = json.loads(results[0]["details"])
    assert details == {"bench": [[280, 280, 320, 320, 0.95]], "computer mouse": [[0, 1, 2, 3.5, 0.4]]}


def test_table_names_the_judge_and_its_caveat(capsys):
    scored(lines_of([*map(true_objects, METADATA)]), None, "scored", "--detector=DETR, ResNet-50")
    page = capsys.readouterr().out
    assert "GenEval by DETR, ResNet-50: 4 images of 4 of 4 prompts" in page and "drifts from human judgement" in page
    assert all(len(line) <= 80 for line in page.splitlines())
    assert main([*COMMAND, "--output=again", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads(Path("again/summary.json").read_text())
    assert told["score"] == 1 and told["judged_by"] == "the detections of detections.jsonl"


GOOD = lines_of([*map(true_objects, METADATA)])
BENCH = {"class": "bench", "score": 0.9, "box": [1, 2, 30, 40]}


def one(*objects: Any, filename: str = "00000/samples/0000.png") -> str:
    return json.dumps({"filename": filename, "objects": [*objects]})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "not JSON: Expecting property name"),
        ("[]", 'needs an object with a text "filename"'),
        ('{"file_name": "a"}', "needs an object with a text \"filename\" (did you mean 'file_name'?)"),
        (one(filename="bench.png"), "filename 'bench.png': must end as in 00000/samples/0000.png"),
        (one(filename="00004/samples/0000.png"), "no prompt 4 in the metadata, which has 0 to 3"),
        (
            '{"filename": "00000/samples/0000.png", "object": []}',
            "\"objects\", which may be empty (did you mean 'object'",
        ),
        (one("bench"), "object 1: must be an object with class, score and box, got 'bench'"),
        (one(BENCH, {"class": "bench", "confidence": 1, "box": [0, 0, 9, 9]}), 'object 2: has no "score"'),
        (one(BENCH | {"class": "benhc"}), "object 1: no class 'benhc' in GenEval (did you mean 'bench'?)"),
        (one(BENCH | {"class": 13}), "object 1: class must be a name, got 13"),
        (one(BENCH | {"score": 1.01}), "object 1, bench: score must be in 0 to 1, got 1.01"),
        (one(BENCH | {"score": "0.9"}), "object 1, bench: score must be in 0 to 1, got '0.9'"),
        (one(BENCH | {"score": float("nan")}), "object 1, bench: score must be in 0 to 1, got nan"),
        (one(BENCH | {"box": [1, 2, 3]}), "object 1, bench: box must be four numbers, got [1, 2, 3]"),
        (one(BENCH | {"box": [1, 2, 3, None]}), "object 1, bench: box must be four numbers, got [1, 2, 3, None]"),
        (one(BENCH | {"box": [1, 2, 10**400, 5]}), "object 1, bench: box must be four numbers, got [1, 2, 1000000"),
        (
            one(BENCH | {"box": [300, 300, 40, 40]}),
            "box must be left, top, right, bottom, got [300, 300, 40, 40]; is it",
        ),
        (one(BENCH | {"color": "rde"}), "object 1, bench: no color 'rde' in GenEval (did you mean 'red'?)"),
    ],
)
def test_wrong_line_is_named_and_left_out(line, said, capsys):
    results, summary = scored([line, *GOOD[1:]])
    assert [result["filename"][:5] for result in results] == ["00001", "00002", "00003"]
    assert summary["images_left_out"] == 1 and summary["tags"]["single_object"]["images"] == 0
    assert summary["left_out"][0]["line"] == 1 and said in summary["left_out"][0]["why"]
    (told,) = [shown for shown in capsys.readouterr().out.splitlines() if said in shown]
    names_it = summary["lines_left_out"] == 0
    assert told.strip().startswith("00000/samples/0000.png (line 1): " if names_it else "line 1: ") and len(told) < 200
    assert summary["score"] == 1  # the mean is over the tags that have an image


def test_duplicate_images_are_left_out_and_missing_images_are_named(capsys):
    lines = [GOOD[0], GOOD[1], one(BENCH, filename="mine/0/samples/0.png"), *lines_of([true_objects(METADATA[0])], 1)]
    results, summary = scored(lines)
    assert [result["filename"] for result in results] == ["00000/samples/0001.png", "00001/samples/0000.png"]
    page = capsys.readouterr().out
    assert "00000/samples/0000.png (line 3): duplicate of line 1; both lines are left out" in page
    missing = [left["image"] for left in summary["left_out"] if left["line"] is None]
    assert missing == [
        f"{place}.png" for place in ("00001/samples/0001", *(f"{p:05}/samples/{n:04}" for p in (2, 3) for n in (0, 1)))
    ]
    assert "00001/samples/0001.png: detections.jsonl has no line for this image" in page
    assert summary["images_left_out"] == 6 and "left out     6 images; no figure counts them" in page


def test_left_out_lines_are_counted_and_the_first_are_shown(capsys):
    _, summary = scored(["?"] * 30 + GOOD)
    page = capsys.readouterr().out
    assert summary["lines_left_out"] == 30 and len(summary["left_out"]) == 30
    assert "left out     30 lines that name no image; no figure counts them" in page
    assert page.count("not JSON") == 10 and "and more, in summary.json" in page


def uncoloured() -> list[str]:
    objects = [{key: value for key, value in each.items() if key != "color"} for each in true_objects(METADATA[2])]
    return [*GOOD[:2], *lines_of([[], [], objects])[2:], GOOD[3]]


@pytest.mark.parametrize(
    ("lines", "flags", "said"),
    [
        (uncoloured(), [], "1 of 4 images have an object whose color a prompt asks for, without it; the first is 'car' in "
         "00002/samples/0000.png (line 3); give each such object \"color\", one of red, orange"),
        (["?", "{}"], [], "no image can be judged, 2 are left out; the first: line 1: not JSON"),
        ([one(BENCH | {"box": [0, 0, 0.5, 1]})], [], "all boxes lie in 0 to 1; give pixels"),
        ([], [], "detections detections.jsonl: empty; it needs at least one line"),
        (GOOD, ["--detections=none.jsonl"], "detections none.jsonl: no such file"),
        (GOOD, ["--detections=."], "detections .: a folder; give a file"),
        (GOOD, ["--metadata=none.jsonl"], "none.jsonl: no such file"),
        (GOOD, ["--metadata=detections.jsonl"], 'detections.jsonl, line 1: needs an object with a text "prompt"'),
        (GOOD, ["--output=detections.jsonl"], "--output detections.jsonl: a file; give a folder"),
        (GOOD, ["--output=full"], "--output full: holds another run's figures; give another --output"),
    ],
)  # fmt: skip
def test_unscorable_detections_give_a_one_line_error_and_no_files(lines, flags, said, capsys):
    given(lines)
    Path("full").mkdir()
    Path("full/summary.json").write_text("{}")
    before = sorted(Path().rglob("*"))
    assert main([*COMMAND, *flags]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert line.startswith("hypernoise_pl score: error: ") and said in line
    assert sorted(Path().rglob("*")) == before


def test_colour_is_required_only_if_the_verdict_depends_on_it():
    plain = {"class": "car", "score": 0.6, "box": [1, 2, 30, 40]}
    sure = plain | {"score": 0.9, "color": "red"}
    images = [[BENCH], [], [plain, sure], []]  # the surer car alone is looked at
    results, _ = scored(lines_of(images))
    assert [result["correct"] for result in results] == [True, False, True, False]
    results, _ = scored(lines_of([[BENCH], [], [plain | {"score": 0.2}], []]), None, "faint")
    assert results[2]["reason"] == "expected car>=1, found 0"


def test_unknown_benchmark_is_refused(capsys):
    assert main(["score", "genevel", *COMMAND[2:]]) == 2
    assert "score: error: no benchmark is called 'genevel' (did you mean 'geneval'?)" in capsys.readouterr().err
    assert main(["score", "geneval", "--detections=x"]) == 2
    assert "score geneval --detections: needs --metadata evaluation_metadata.jsonl too" in capsys.readouterr().err
