"""T2I-CompBench as a whole: real classes of BLIP and CLIP, and the shapes world's own detector."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from jsonargparse import ArgumentParser
from torch import Tensor

from hypernoise_pl.config.files import PACKAGE
from hypernoise_pl.metrics.benchmark import Benchmark, summarise_outcomes
from hypernoise_pl.metrics.compbench.benchmark import T2ICompBench
from hypernoise_pl.metrics.compbench.detected_objects import Spatial
from hypernoise_pl.metrics.geneval.detector import DetectedObject, Detector
from hypernoise_pl.metrics.geneval.rules import Detection
from hypernoise_pl.rewards.clip import CLIPScore
from hypernoise_pl.rewards.vqa import VQAScore
from hypernoise_pl.shapes.caption import SHAPES
from hypernoise_pl.shapes.judge import ShapesJudge
from hypernoise_pl.shapes.render import render_scenes
from hypernoise_pl.shapes.scene import PALETTE, Scenes
from hypernoise_pl.types import Prompt
from tests.rewards import zoo

# CLIP's and BLIP's
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])
CLIP = str(PACKAGE / "shapes" / "weights" / "clip")


class ShapesFinder(Detector):
    """The shapes world's detector, with boxes in pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.classes = tuple(SHAPES)
        self.seen = 0

    def display_name(self) -> str:
        return "the shapes world's detector"

    def _detect(self, images: Tensor) -> list[list[DetectedObject]]:
        self.seen += len(images)
        height, width = images.shape[-2:]
        found = ShapesJudge().detect(images)
        return [
            [
                DetectedObject(replace(d, box=tuple(e * size for e, size in zip(d.box, (width, height) * 2))))
                for d in own
            ]
            for own in found
        ]


def drawn(*scenes: list[tuple[str, float, float]]) -> Tensor:
    """[B, 3, 64, 64] pictures of red shapes at places, x to the right and y upwards in [-1, 1]."""
    batch, slots = len(scenes), 4
    present, shape = torch.zeros(batch, slots, dtype=torch.bool), torch.zeros(batch, slots, dtype=torch.long)
    centre = torch.zeros(batch, slots, 2)
    for row, objects in enumerate(scenes):
        for slot, (name, x, y) in enumerate(objects):
            present[row, slot], shape[row, slot] = True, SHAPES.index(name)
            centre[row, slot] = torch.tensor([x, y])
    rgb, radius = PALETTE[0].expand(batch, slots, 3), torch.full((batch, slots), 0.25)
    return render_scenes(Scenes(present, shape, rgb, centre, radius, torch.full((batch, 3, 2, 2), 0.05)), 64)


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(zoo.blip_vqa(tmp_path_factory.mktemp("vqa")))


def benchmark(blip: str, **options) -> T2ICompBench:
    parts = {
        "attributes": VQAScore(blip, question="{prompt}?", against="no"),
        "detector": ShapesFinder(),
        "non_spatial": CLIPScore(CLIP),
    }
    return T2ICompBench(**(parts | options))


def answer(folder: str, image: Tensor, question: str) -> float:
    """What transformers' own model says: yes against no."""
    from transformers import BertTokenizer, BlipForQuestionAnswering

    model, tokenizer = BlipForQuestionAnswering.from_pretrained(folder), BertTokenizer.from_pretrained(folder)
    pixels = (image - MEAN[:, None, None]) / STD[:, None, None]
    tokens = tokenizer(question, return_tensors="pt").input_ids
    found = model.generate(
        tokens, pixels[None], max_new_tokens=1, output_scores=True, return_dict_in_generate=True
    ).scores[0][0]
    yes, no = (found[tokenizer.convert_tokens_to_ids(word)] for word in ("yes", "no"))
    return torch.sigmoid(yes - no).item()


def test_attributes_are_the_product_over_chunks(blip):
    torch.manual_seed(0)
    images = torch.rand(3, 3, 16, 16)
    prompts = [
        Prompt("a red circle and a blue square", "color"),
        Prompt("a green star", "shape"),
        Prompt("a red ring on a star in a pink circle", "texture"),
    ]
    chunks = [["a red circle", "a blue square"], ["a green star"], ["a red ring", "a star", "a pink circle"]]
    outcomes = benchmark(blip)(images, prompts)
    for image, own, outcome in zip(images, chunks, outcomes, strict=True):
        expected = [answer(blip, image, f"{chunk}?") for chunk in own]
        assert outcome.value == pytest.approx(torch.tensor(expected).prod().item(), rel=1e-4)
        assert [name for name, _ in outcome.details["chunks"]] == own
        assert [p for _, p in outcome.details["chunks"]] == pytest.approx(expected, rel=1e-4)
        named = [chunk for chunk, p in zip(own, expected) if p < 0.5]
        assert [part.split("'")[1] for part in outcome.reason.split("; ") if part] == named
    assert len({outcome.value for outcome in outcomes}) == 3


def test_signs_are_left_out_of_questions_as_blip_was_trained(blip, tmp_path):
    file = tmp_path / "chunks.json"
    file.write_text(json.dumps({"x": ['a "red" (circle)!']}))
    image = torch.rand(1, 3, 16, 16)
    (outcome,) = benchmark(blip, chunks=str(file))(image, [Prompt("x", "color")])
    assert outcome.value == pytest.approx(answer(blip, image[0], "a red circle?"), rel=1e-4)


def test_non_spatial_is_the_cosine(blip):
    from transformers import AutoTokenizer, CLIPModel

    images, texts = drawn([("circle", 0, 0)], [("star", 0, 0)]), ["a red circle", "a blue ring"]
    outcomes = benchmark(blip)(images, [Prompt(text, "non_spatial") for text in texts])
    model, tokenizer = CLIPModel.from_pretrained(CLIP).float(), AutoTokenizer.from_pretrained(CLIP)
    small = F.interpolate(images, (32, 32), mode="bicubic", antialias=True, align_corners=False)
    tokens = tokenizer(texts, padding="max_length", max_length=model.config.text_config.max_position_embeddings)
    pixels = (small - MEAN[:, None, None]) / STD[:, None, None]
    found = model(torch.tensor(tokens.input_ids), pixels, torch.tensor(tokens.attention_mask))
    expected = (found.image_embeds * found.text_embeds).sum(1)
    torch.testing.assert_close(torch.tensor([o.value for o in outcomes]), expected, rtol=1e-3, atol=1e-4)
    assert outcomes[0].value > outcomes[1].value + 0.1


def test_places_of_real_detections(blip):
    left, right, same = [("circle", -0.5, 0), ("square", 0.5, 0)], [("circle", 0.5, 0), ("square", -0.5, 0)], []
    images = drawn(left, right, left[:1], same, left)
    words = ["on the left of"] * 4 + ["next to"]
    prompts = [Prompt(f"a circle {word} a square", "spatial") for word in words]
    outcomes = benchmark(blip)(images, prompts)
    # centres are 32 of 64 pixels apart, which is 240 of 479
    assert [outcome.value for outcome in outcomes] == pytest.approx([1, 0.5, 0, 0, 1])
    assert [outcome.reason for outcome in outcomes] == [
        "",
        "circle on the left of square: 0.00",
        "no square found",
        "no circle and no square found",
        "",
    ]


def test_the_reason_is_of_the_surest_objects():
    sure, unsure = (Detection("circle", (x, 0, x + 9, 9), score=score) for x, score in ((0, 0.9), (90, 0.6)))
    square = Detection("square", (50, 0, 59, 9), score=0.8)
    part, prompt = Spatial(ShapesFinder(), {}), Prompt("a circle on the left of a square", "spatial")
    assert part.outcome([sure, square, unsure], prompt).reason == ""
    assert part.outcome([unsure, square, sure], prompt).reason == "circle on the left of square: 0.00"


def test_numbers_of_real_detections(blip):
    names = {"balloon": "circle", "book": "square"}
    two = [("circle", -0.5, 0.5), ("circle", 0.5, -0.5)]
    images = drawn(two, [*two, ("square", 0.5, 0.5)], [], two)
    texts = ["two balloons", "three balloons and a book", "one balloon", "two swans and two balloons"]
    finder = ShapesFinder()
    outcomes = benchmark(blip, names=names, detector=finder)(images, [Prompt(text, "numeracy") for text in texts])
    assert [outcome.value for outcome in outcomes[:3]] == [1, 0.75, 0]
    assert outcomes[1].reason == "circle: expected 3, found 2"
    assert outcomes[3].value != outcomes[3].value
    assert outcomes[3].reason == "not judged: the detector does not know swan"
    assert finder.seen == 3  # nothing is detected for what cannot be judged
    figures = summarise_outcomes(outcomes, [Prompt(text, "numeracy", index=place) for place, text in enumerate(texts)])
    assert figures["score"]["left_out"] == 1 and figures["score"]["mean"] == pytest.approx(1.75 / 3)


def test_complex_is_the_mean_of_its_parts(blip, tmp_path):
    file = tmp_path / "chunks.json"
    texts = ["The red circle is next to the square", "The red circle rolls", "The red circle rolls near nothing"]
    parses = {
        texts[0]: {"chunks": ["The red circle", "the square"], "objects": ["circle", "square"], "plain": "The circle"},
        texts[1]: {"chunks": ["The red circle"], "objects": None, "plain": "The circle rolls"},
        texts[2]: {"chunks": ["The red circle"], "objects": None, "plain": "The circle rolls near nothing"},
    }
    file.write_text(json.dumps(parses))
    relations = [["spatial"], ["action"], ["spatial", "action"]]
    prompts = [Prompt(text, "complex", {"relations": own}) for text, own in zip(texts, relations)]
    images = drawn([("circle", -0.5, 0), ("square", 0.5, 0)], [("circle", 0, 0)], [("circle", 0, 0)])
    judged = benchmark(blip, chunks=str(file))
    outcomes = judged(images, prompts)
    asked = [outcome.value for outcome in judged(images, [replace(prompt, tag="color") for prompt in prompts])]
    cosines = CLIPScore(CLIP)
    plain = [cosines.cosine(images[row : row + 1], [parses[texts[row]]["plain"]]).item() for row in (1, 2)]
    expected = [(asked[0] + 1) / 2, (asked[1] + plain[0]) / 2, (asked[2] + 0 + plain[1]) / 3]
    assert [outcome.value for outcome in outcomes] == pytest.approx(expected, rel=1e-4)
    assert outcomes[2].details == {
        "attributes": pytest.approx(asked[2]),
        "spatial": 0.0,
        "action": pytest.approx(plain[1]),
    }
    for prompt, lack in (
        (replace(prompts[0], metadata={}), "has no 'relations' in its metadata"),
        (replace(prompts[0], text="The dog"), "is not in the file of chunks"),
    ):
        assert lack in (judged.missing_metadata(prompt) or "")


def test_categories_are_scored_apart_in_any_order(blip):
    images = drawn(*[[("circle", -0.5, 0), ("square", 0.5, 0)]] * 4)
    prompts = [
        Prompt("a red circle and a red square", "color"),
        Prompt("a circle on the left of a square", "spatial"),
        Prompt("a red circle", "non_spatial"),
        Prompt("a red circle and a red square", "texture"),
    ]
    judged = benchmark(blip)
    together = judged(images, prompts)
    alone = [judged(images[row : row + 1], prompts[row : row + 1])[0] for row in range(4)]
    assert [o.value for o in together] == pytest.approx([o.value for o in alone], rel=1e-5)
    assert together[0].value == together[3].value and together[1].value == 1


def test_what_cannot_be_scored_is_said_before_any_image(blip):
    judged = T2ICompBench(attributes=VQAScore(blip))
    for prompt, lack in (
        (Prompt("a", "colour"), r"has no category as its tag, but 'colour' \(did you mean 'color'\?\)"),
        (Prompt("a", ""), "has no category as its tag, but ''"),
        (Prompt("a dog near a cup", "spatial"), "is of the category 'spatial', which needs detector"),
        (Prompt("a dog behind a cup", "3d_spatial"), "'3d_spatial', which is not judged: it needs the depth"),
        (Prompt("red", "color"), "has no noun chunk to ask about"),
    ):
        with pytest.raises(ValueError, match=lack):
            judged.check([Prompt("a red dog", "color"), prompt])
    whole = benchmark(blip)
    assert "has no relation of the form" in (whole.missing_metadata(Prompt("a dog", "spatial")) or "")
    assert "has no object of the benchmark with a number" in (
        whole.missing_metadata(Prompt("two burgers", "numeracy")) or ""
    )
    assert whole.missing_metadata(Prompt("A man eats.", "non_spatial")) is None


def test_invalid_options_are_rejected(blip):
    with pytest.raises(ValueError, match="no judge; give attributes"):
        T2ICompBench()
    with pytest.raises(ValueError, match=r"no category 'colour' \(did you mean 'color'"):
        benchmark(blip, categories=["colour"])
    with pytest.raises(ValueError, match="category 'complex' needs chunks"):
        benchmark(blip, categories=["complex"])
    with pytest.raises(ValueError, match=r"the detector has no class 'circel' \(did you mean 'circle'"):
        benchmark(blip, names={"book": "circel"})


def test_it_says_what_judges(blip):
    said = benchmark(blip).judged_by()
    assert said.startswith(f"attributes: VQAScore {blip}; spatial and numeracy, in place of UniDet: the shapes world's")
    assert said.endswith(f"non_spatial: CLIPScore {CLIP}")
    assert benchmark(blip).missing() is None


def test_a_configuration_names_its_parts(blip):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Benchmark, "benchmark", required=True)
    path = "hypernoise_pl.rewards.vqa.VQAScore"
    arguments = {
        "attributes": {"class_path": path, "init_args": {"model": blip, "question": "{prompt}?", "against": "no"}},
        "detector": {"class_path": f"{__name__}.ShapesFinder"},
        "names": {"book": "square"},
        "categories": ["color", "numeracy"],
    }
    config = {"benchmark": {"class_path": "hypernoise_pl.metrics.compbench.benchmark.T2ICompBench"}}
    config["benchmark"]["init_args"] = arguments
    built = parser.instantiate_classes(parser.parse_object(config)).benchmark
    (outcome,) = built(drawn([("square", 0, 0)]), [Prompt("one book", "numeracy")])
    assert outcome.value == 1 and Path(built.arguments["attributes"].arguments["model"]) == Path(blip)
