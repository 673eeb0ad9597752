"""GenEval from pixels to its result file, by tiny networks of the real classes; its verdicts by a second reading."""

import json
from pathlib import Path

import pytest
import torch

from hypernoise_pl.data.geneval import TAGS
from hypernoise_pl.metrics.benchmark import ScoredImage, summarise_outcomes
from hypernoise_pl.metrics.geneval.benchmark import GenEval
from hypernoise_pl.metrics.geneval.classes import class_names
from hypernoise_pl.metrics.geneval.judge import GenEvalJudge
from hypernoise_pl.metrics.geneval.rules import COLOURS
from hypernoise_pl.metrics.image_files import GenEvalFolder, ImageFile
from hypernoise_pl.types import Prompt
from tests.metrics.original_geneval import reread
from tests.metrics.test_detector import pictures

pytestmark = pytest.mark.usefixtures("small")


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return pictures(24, 60, 80)


@pytest.fixture
def prompts(images, detector, colours) -> list[Prompt]:
    """Of what is seen in each image: one, two, counted, coloured, placed, two coloured; every other one asks for too much."""
    made = []
    for index, own in enumerate(detector(images)):
        first, second = sorted({each.detection.name for each in own})[:2]
        tag, wrong = TAGS[index % 6], index % 12 >= 6
        surest = max((each for each in own if each.detection.name == first), key=lambda each: each.detection.score)
        seen = colours([(images[index], surest)])[0]
        colour = COLOURS[(COLOURS.index(seen) + wrong) % 10]
        include = [{"class": first, "count": 1}]
        extra = {}
        if tag == "single_object":
            include[0]["count"] = 17 if wrong else 1
        elif tag == "two_object":
            include += [{"class": "zebra" if wrong else second, "count": 1}]
        elif tag == "counting":
            sure = sum(each.detection.name == first and each.detection.score > 0.9 for each in own)
            include[0]["count"] = max(sure - wrong, 1)
            extra = {"exclude": [{"class": first, "count": max(sure - wrong, 1) + 1}]}
        elif tag == "position":
            include += [{"class": second, "count": 1, "position": ["above" if wrong else "left of", 0]}]
        else:
            include[0]["color"] = colour
            include += [{"class": second, "count": 1, "color": "red"}] if tag == "color_attr" else []
        made.append(Prompt(f"a photo of {first}, {index}", tag, {"include": include, **extra}, index))
    return made


def second_reading(images, prompts, detector, colours) -> list[tuple[bool, str]]:
    """Every object's colour is asked for, and the rules are read anew."""
    read = []
    for image, prompt, own in zip(images, prompts, detector(images), strict=True):
        names = colours([(image, found) for found in own])
        objects = [
            {"class": f.detection.name, "score": f.detection.score, "box": f.detection.box, "color": colour}
            for f, colour in zip(own, names, strict=True)
        ]
        read.append(reread(objects, {"tag": prompt.tag, **prompt.metadata}))
    return read


def test_verdicts_and_reasons_are_those_of_a_second_reading(images, prompts, detector, colours):
    judge = GenEvalJudge(detector, colours)
    wanted = second_reading(images, prompts, detector, colours)
    verdicts = judge.verdicts(images, prompts)
    assert [(each.correct, each.reason) for each in verdicts] == wanted
    assert judge(images, prompts).tolist() == [correct for correct, _ in wanted]
    assert {True, False} == {correct for correct, _ in wanted}
    reasons = " ".join(reason for _, reason in wanted)
    assert all(words in reasons for words in (">=17, found", "zebra>=1, found 0", "; and 1 ", " target, found ")), (
        reasons
    )


def test_colours_are_asked_only_of_objects_that_a_clause_on_a_colour_is_about(images, prompts, detector, colours):
    looked = GenEvalJudge(detector, colours).detect(images, prompts)
    for prompt, found in zip(prompts, looked, strict=True):
        scores = [each.score for each in found]
        assert scores == sorted(scores, reverse=True) and min(scores) > (0.9 if prompt.tag == "counting" else 0.3)
        coloured = [each.name for each in found if each.colour is not None]
        asked = {clause["class"] for clause in prompt.metadata["include"] if "color" in clause}
        assert sorted(coloured) == sorted(asked)
    assert any(each.colour for found in looked for each in found)


def test_an_image_is_judged_alike_alone_and_in_a_batch(images, prompts, detector, colours):
    judge = GenEvalJudge(detector, colours)
    together = judge.verdicts(images[:6], prompts[:6])
    alone = [judge.verdicts(images[i : i + 1], prompts[i : i + 1])[0] for i in range(6)]
    assert alone == together
    assert judge.verdicts(images[:0], []) == [] and judge(images[:0], []).tolist() == []


@pytest.mark.parametrize(
    ("clauses", "lack"),
    [
        ({}, "has no 'include' clauses"),
        ({"include": [{"class": "mouse", "count": 1}]}, "class 'mouse', which Mask2Former .+ does not know"),
        ({"include": [{"class": "cats", "count": 1}]}, r"does not know \(did you mean 'cat'\?\)"),
        (
            {"include": [{"class": "cat", "count": 1, "color": "grey"}]},
            "has a clause of color 'grey'; GenEval knows red,",
        ),
        ({"include": [{"class": "cat", "count": 1}], "exclude": [{"class": "catt", "count": 2}]}, "class 'catt'"),
        ({"include": [{"class": "cat", "count": 1, "position": ["above", 0]}]}, r"a position \['above', 0\]"),
        (
            {"include": [{"class": "cat", "count": 1}, {"class": "dog", "count": 1, "position": ["over", 0]}]},
            r"has a position \['over', 0\]; it must be a relation \(left of, right of, above, below\) and the index",
        ),
    ],
)
def test_clauses_that_cannot_be_judged_are_refused_before_any_image_is(clauses, lack, detector, colours, images):
    judge = GenEvalJudge(detector, colours)
    prompts = [Prompt("a cat", "single_object", {"include": [{"class": "cat", "count": 1}]}), Prompt("?", "", clauses)]
    with pytest.raises(ValueError, match=f"GenEvalJudge cannot judge 1 of 2 prompts; the first, '\\?', .*{lack}"):
        judge.check(prompts)
    with pytest.raises(ValueError, match="GenEval cannot score 1 of 2 prompts"):
        GenEval(detector, colours).check(prompts)


def test_the_benchmark_writes_the_originals_result_file(images, prompts, detector, colours):
    benchmark = GenEval(detector, colours)
    outcomes = benchmark(images, prompts)
    wanted = second_reading(images, prompts, detector, colours)
    scored = [
        ScoredImage(image_file(prompt), prompt, outcome) for prompt, outcome in zip(prompts, outcomes, strict=True)
    ]
    lines = [json.loads(line) for line in benchmark.results(scored)["results.jsonl"].splitlines()]
    looked = GenEvalJudge(detector, colours).detect(images, prompts)
    for line, prompt, (correct, reason), found in zip(lines, prompts, wanted, looked, strict=True):
        assert [*line] == ["filename", "tag", "prompt", "correct", "reason", "metadata", "details"]
        assert line["filename"] == f"{prompt.index:05}/samples/0000.png"
        assert (line["correct"], line["reason"], line["tag"]) == (correct, reason, prompt.tag)
        assert json.loads(line["metadata"]) == {"tag": prompt.tag, **prompt.metadata, "prompt": prompt.text}
        details = json.loads(line["details"])
        assert {name: [[*each.box, each.score] for each in found if each.name == name] for name in details} == details
        assert sum(map(len, details.values())) == len(found)
        assert [*details] == [name for name in class_names() if name in details]
    figures = summarise_outcomes(outcomes, prompts)["score"]
    shares = [sum(c for (c, _), p in zip(wanted, prompts, strict=True) if p.tag == tag) / 4 for tag in TAGS]
    assert figures["mean"] == pytest.approx(sum(shares) / 6) and figures["images"] == 24


def image_file(prompt: Prompt):
    name = GenEvalFolder().name(prompt, 0)
    return ImageFile(Path(name), prompt, 0, name)


def test_only_genevals_own_detector_gives_figures_that_are_called_so(
    detector, colours, detector_folder, colours_folder
):
    benchmark = GenEval(detector, colours)
    assert benchmark.title == "geneval-hf" and "drifts from human judgement" in benchmark.caveat
    named = f"Mask2Former {detector_folder}, transformers' weights; colours by CLIP {colours_folder}"
    assert benchmark.judged_by() == named
    assert {*dict(benchmark.named_children())} == {"detector", "colours"}


def test_its_prompts_are_read_from_the_file_or_its_folder(detector, colours, tmp_path):
    line = {"tag": "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a photo of a bench"}
    (tmp_path / "evaluation_metadata.jsonl").write_text(json.dumps(line) + "\n")
    benchmark = GenEval(detector, colours)
    for place in (tmp_path, tmp_path / "evaluation_metadata.jsonl"):
        (prompt,) = benchmark.read(place)
        assert (prompt.text, prompt.tag, prompt.index) == ("a photo of a bench", "single_object", 0)
        assert benchmark.missing_metadata(prompt) is None
    with pytest.raises(FileNotFoundError):
        benchmark.read(tmp_path / "none.jsonl")
