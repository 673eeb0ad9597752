"""Colours by CLIP: what is cut out is Pillow's, what is said of it is what transformers' own processor and model say."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hypernoise_pl.__main__ import main
from hypernoise_pl.metrics.geneval.colours import ClipColours, cut_out
from hypernoise_pl.metrics.geneval.detector import DetectedObject
from hypernoise_pl.metrics.geneval.rules import COLOURS, Detection
from hypernoise_pl.metrics.image_files import save_png
from hypernoise_pl.types import to_uint8
from tests.metrics.test_detector import pictures


def objects(count: int, masks: bool) -> list[tuple[torch.Tensor, DetectedObject]]:
    """Ellipses in pictures, in boxes whose sides leave an even number of pixels once the short one is 16 long."""
    draws = np.random.default_rng(0)
    found = []
    for number, image in enumerate(pictures(count, 90, 120)):
        left, top = (int(draws.integers(0, 40)) for _ in range(2))
        width, height = (16 * int(draws.integers(1, 4)) for _ in range(2))
        y, x = np.mgrid[:90, :120]
        mask = ((x - left) / width - 0.5) ** 2 + ((y - top) / height - 0.5) ** 2 < 0.25
        name = ("cat", "computer mouse", "traffic light")[number % 3]
        box = (float(left), float(top), float(left + width), float(top + height))
        found.append((image, DetectedObject(Detection(name, box), torch.from_numpy(mask) if masks else None)))
    return found


@pytest.mark.parametrize("masks", [True, False])
def test_an_object_is_cut_out_as_the_original_does(masks):
    for image, found in objects(6, masks):
        pixels = to_uint8(image).numpy().copy()
        if masks:
            pixels[~found.mask.numpy()] = 0x99
        left, top, right, bottom = map(int, found.detection.box)
        assert (np.array(cut_out(image, found)) == pixels[top:bottom, left:right]).all()


def test_a_box_beyond_the_image_ends_at_its_edge_and_an_empty_one_has_a_pixel():
    image = pictures(1, 20, 30)[0]
    for box, size in [
        ((-5.0, -3.0, 99.0, 99.0), (30, 20)),
        ((29.8, 4.1, 29.9, 4.2), (1, 1)),
        ((2.4, 3, 2.6, 9), (1, 6)),
    ]:
        assert cut_out(image, DetectedObject(Detection("cat", box))).size == size


@pytest.mark.parametrize("masks", [True, False])
def test_colours_are_those_of_transformers_own_processor_and_model(masks, colours_folder):
    from transformers import CLIPModel, CLIPTokenizer
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    model = CLIPModel.from_pretrained(colours_folder).eval()
    tokenizer = CLIPTokenizer.from_pretrained(colours_folder)
    processor = CLIPImageProcessorPil.from_pretrained(colours_folder)
    asked = objects(40, masks)
    wanted = []
    for image, found in asked:
        picture = Image.fromarray(to_uint8(image).numpy())
        if masks:
            blank = Image.new("RGB", picture.size, color="#999")
            picture = Image.composite(picture, blank, Image.fromarray(found.mask.numpy()))
        seen = model.get_image_features(**processor(picture.crop(found.detection.box), return_tensors="pt"))
        best = []
        for colour in COLOURS:
            name = found.detection.name
            texts = [f"a photo of a {colour} {name}", f"a photo of a {colour}-colored {name}"]
            words = tokenizer([*texts, f"a photo of a {colour} object"], padding=True, return_tensors="pt")
            read = model.get_text_features(**words).pooler_output
            mean = sum(row / row.norm() for row in read) / 3
            best.append(torch.cosine_similarity(seen.pooler_output[0], mean, dim=0).item())
        wanted.append(COLOURS[int(np.argmax(best))])
    assert ClipColours(str(colours_folder))(asked) == wanted
    assert ClipColours(str(colours_folder), chunk=7)(asked) == wanted
    assert len(set(wanted)) >= 3, set(wanted)


def test_another_activation_than_openais_is_refused(colours_folder, tmp_path):
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained(colours_folder)
    model.config.vision_config.hidden_act = "gelu"
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="its activation is gelu; GenEval needs OpenAI's CLIP with quick_"):
        ClipColours(str(tmp_path))


def test_nothing_asked_is_nothing_said_and_a_chunk_of_none_is_refused(colours, colours_folder):
    assert colours([]) == []
    with pytest.raises(ValueError, match="chunk must be 1 or more, got 0"):
        ClipColours(str(colours_folder), chunk=0)


@pytest.mark.usefixtures("own_folder")
def test_detections_without_colours_and_their_images_are_scored_with_clips_colours(colours_folder, capsys):
    clauses = [{"class": "cat", "count": 1, "color": "red"}]
    line = {"tag": "colors", "include": clauses, "prompt": "a photo of a red cat"}
    Path("metadata.jsonl").write_text(f"{json.dumps(line)}\n" * 8)
    shown, lines = pictures(8, 90, 120), []
    box = [8.0, 9.0, 88.0, 89.0]
    for place, image in enumerate(shown[:7]):
        save_png(Path(f"images/{place:05}/samples/0000.png"), to_uint8(image))
        colour = {"color": "red"} if place == 0 else {}
        objects = [{"class": "cat", "score": 0.9, "box": box} | colour]
        lines.append({"filename": f"{place:05}/samples/0000.png", "objects": objects})
    lines.append({**lines[1], "filename": "00007/samples/0000.png"})  # whose image is not there
    Path("found.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in lines))
    given = ["score", "geneval", "--detections=found.jsonl", "--metadata=metadata.jsonl", "--output=out"]
    assert main(given) == 2
    assert "7 of 8 images have an object whose color a prompt asks for" in capsys.readouterr().err
    model = f"--benchmark.colours.model={colours_folder}"
    assert main([*given, "images", model]) == 0
    said = ClipColours(str(colours_folder))(
        [(to_uint8(image).movedim(-1, 0) / 255, DetectedObject(Detection("cat", tuple(box)))) for image in shown[1:7]]
    )
    results = [json.loads(each) for each in Path("out/results.jsonl").read_text().splitlines()]
    assert [each["correct"] for each in results] == [True, *(colour == "red" for colour in said)]
    reasons = [f"expected red cat>=1, found 0 red; and 1 {colour}" for colour in said if colour != "red"]
    assert [each["reason"] for each in results if not each["correct"]] == reasons and reasons
    summary = json.loads(Path("out/summary.json").read_text())
    (left,) = summary["left_out"]
    assert left["image"] == "00007/samples/0000.png" and left["why"] == "no such file" and summary["images"] == 7
    assert Path("out/score.html").is_file() and "colours that it lacks by" in summary["judged_by"]
