"""Images that cannot be scored: each is named with its fault and counted, and the figure is that of the others."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.score.drawn import SIZE, picture, score, score_of, write_folder

pytestmark = pytest.mark.usefixtures("own_folder")

SAID = {
    "00000/samples/0000.png": "damaged or cut short",
    "00001/samples/0000.png": "not an image",
    "00002/samples/0000.png": "not an image",
    "00003/samples/0000.png": "no such file",
    "00004/samples/0000.png": "mode RGBA, not RGB",
    "00005/samples/0000.png": "mode L, not RGB",
    "00006/samples/0000.png": "mode P, not RGB",
    "00007/samples/0000.png": "mode I;16, not RGB",
    "00008/samples/0000.png": "a folder, not a file",
}


def spoil(folder: Path) -> None:
    files = [folder / name for name in SAID]
    whole = files[0].read_bytes()
    files[0].write_bytes(whole[: len(whole) // 2])
    files[1].write_bytes(b"")
    files[2].write_text("an image of a star")
    files[3].unlink()
    for file, mode in zip(files[4:7], ("RGBA", "L", "P"), strict=True):
        picture(4).convert(mode).save(file)
    Image.fromarray(np.zeros((SIZE, SIZE), np.uint16)).save(files[7])
    files[8].unlink()
    files[8].mkdir()


def test_unreadable_images_are_named_left_out_and_counted(capsys):
    verdicts = write_folder(Path("images"))
    spoil(Path("images"))
    picture(9).resize((2 * SIZE, 2 * SIZE), Image.Resampling.NEAREST).save("images/00009/samples/0000.png")
    summary = score("images")
    shown = capsys.readouterr().out
    kept = {place: right for place, right in verdicts.items() if place[0] > 8 or place[1] == 1}
    assert summary["images"] == len(kept) == 15
    assert summary["score"] == pytest.approx(score_of(kept), abs=1e-12)
    assert summary["images_left_out"] == 9 and summary["lines_left_out"] == 0
    why = {left["image"]: left["why"] for left in summary["left_out"]}
    assert set(why) == set(SAID)
    page = Path("out/score.html").read_text()
    assert "left out     9 images; no figure counts them" in shown and "9 images and 0 lines" in page
    for name, said in SAID.items():
        assert said in why[name] and f"{name}: {said}" in shown and f"{name}: {said}" in page


def test_error_names_the_first_image_if_none_can_be_scored(capsys):
    from hypernoise_pl.__main__ import main

    write_folder(Path("images"), images=1)
    for file in Path("images").rglob("*.png"):
        file.write_bytes(b"")
    assert main(["score", "shapes", "images", "--output=out"]) == 2
    said = capsys.readouterr().err
    assert "no image can be scored; the first of 12 left out: 00000/samples/0000.png: not an image" in said
    assert not Path("out/summary.json").exists()


@pytest.mark.parametrize("benchmark", ["shapes", "shapes_questions"])
def test_batch_size_and_size_of_images_change_no_figure(benchmark):
    write_folder(Path("images"))
    for index in (2, 5):
        picture(index).resize((32, 32), Image.Resampling.BOX).save(f"images/{index:05}/samples/0001.png")
    found = [score("images", f"--batch-size={size}", benchmark=benchmark, output=f"of-{size}") for size in (1, 5, 64)]
    assert found[0] == found[1] == found[2]


def test_a_changed_image_is_scored_again_and_a_repaired_one_is_no_longer_left_out():
    verdicts = write_folder(Path("images"))
    Path("images/00002/samples/0000.png").write_bytes(b"")
    before = score("images")
    assert before["images"] == 23
    shutil.copy("images/00001/samples/0000.png", "spare.png")
    picture(2).save("images/00002/samples/0000.png")
    picture(1, False).save("images/00001/samples/0000.png")
    changed = score("images")
    verdicts[1, 0] = False
    assert (changed["images"], changed["left_out"]) == (24, [])
    assert changed["score"] == pytest.approx(score_of(verdicts), abs=1e-12)
