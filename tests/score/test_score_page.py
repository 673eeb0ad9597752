"""The page of images: the worst first, each with verdict and reason, and no prompt is taken for markup."""

import re
from html import unescape
from pathlib import Path

import pytest

from hypernoise_pl.score import page
from tests.score.drawn import PROMPTS, metadata, picture, score, write_folder, write_lines

pytestmark = pytest.mark.usefixtures("own_folder")

NASTY = "</p><script>alert(1)</script> \"quoted\" & 'so' \N{GRINNING FACE}"


def test_worst_images_come_first_with_their_reasons():
    verdicts = write_folder(Path("images"))
    score("images")
    text = Path("out/score.html").read_text()
    shown = re.findall(r'<b class="(\w+)">(\w+)</b>', text)
    wrong = len(verdicts) - sum(verdicts.values())
    assert shown == [("wrong", "wrong")] * wrong + [("right", "correct")] * sum(verdicts.values())
    assert "All 24." in text and text.count("data:image/jpeg;base64,") == 24
    assert text.count('<p class="reason faint">') == wrong  # each wrong image has one
    assert "http" not in text.replace("http://www.w3.org", "")  # it needs no network


def test_prompts_are_escaped():
    picture(0).save("a.png")
    row = metadata(PROMPTS[0]) | {"prompt": NASTY, "tag": NASTY, "image_path": "a.png", "method": NASTY}
    write_lines(Path("rows.jsonl"), [row])
    score("rows.jsonl")
    text = Path("out/score.html").read_text()
    assert "<script>alert" not in text and '"quoted"' not in text and "\N{GRINNING FACE}" in text
    assert NASTY in unescape(text)


def test_page_states_how_many_images_it_omits(monkeypatch):
    monkeypatch.setattr(page, "MAX_IMAGES", 5)
    write_folder(Path("images"))
    score("images")
    text = Path("out/score.html").read_text()
    assert "The 5 worst of 24; the run folder has every outcome." in text and text.count('<div class="card"') == 5
