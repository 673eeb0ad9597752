"""What is read in pictures of words by the real recogniser, and how it is counted."""

from __future__ import annotations

import functools
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hypernoise_pl.rewards.ocr import TextAccuracy, quoted
from tests.rewards.words import picture


def accuracy(
    prompt: str, *lines: str, degrees: float = 0, size: tuple[int, int] = (192, 192), **options: bool
) -> float:
    return TextAccuracy(**options)(picture(*lines, degrees=degrees, size=size)[None], [prompt]).item()


def distance(one: str, other: str) -> int:
    """The edit distance by its definition."""

    @functools.cache
    def between(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        changed = between(i - 1, j - 1) + (one[i - 1] != other[j - 1])
        return min(changed, between(i - 1, j) + 1, between(i, j - 1) + 1)

    return between(len(one), len(other))


@pytest.mark.parametrize(
    ("prompt", "lines", "expected"),
    [
        ('a sign that says "OPEN"', ["OPEN"], 1),
        ('a sign that says "OVEN"', ["OPEN"], 1 - 1 / 4),
        ('a sign that says "NEWS"', ["OPEN"], 0),  # four letters, none at its place
        ('a sign that says "OPEN"', [""], 0),
        ('a sign that says "OPEN"', ["OPEN", "NOW"], 1 - 3 / 4),
        ('"FISH" above "CAKE"', ["FISH", "CAKE"], 1),
        ('"CAKE" below "FISH"', ["FISH", "CAKE"], 0),
        ("“Open” on a door", ["OPEN"], 1),
        ('a "BED"', ["BED AND BREAKFAST"], 0),  # more letters too many than there are letters
    ],
)
def test_accuracy_of_rendered_words(prompt, lines, expected):
    wide = (600, 192) if max(map(len, lines)) > 8 else (192, 192)
    assert accuracy(prompt, *lines, size=wide) == pytest.approx(expected)


@pytest.mark.parametrize("degrees", [20, 90, 180])
def test_turned_words_are_read(degrees):
    assert accuracy('a sign that says "OPEN"', "OPEN", degrees=degrees) == 1


@pytest.mark.parametrize("size", [(64, 96), (192, 192), (500, 150)])
def test_images_of_any_size_are_read(size):
    image = picture("CAT", size=size, height=24)
    assert TextAccuracy().read(image[None]) == ["CAT"]


@pytest.mark.parametrize("size", [(1, 1), (3, 400), (20, 24)])
def test_noise_says_nothing(size):
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    assert TextAccuracy()(image, ['a "CAT"']).tolist() == [0]


def test_letters_in_colour_are_read_and_red_is_not_taken_for_blue():
    red = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    image = torch.where(picture("STOP") < 0.5, torch.tensor(1.0), red)
    assert TextAccuracy().read(image[None]) == ["STOP"]


def test_case_counts_if_asked():
    assert accuracy('"open" on a door', "OPEN") == 1
    assert accuracy('"open" on a door', "OPEN", ignore_case=False) == 0
    assert accuracy('"OPEN" on a door', "OPEN", ignore_case=False) == 1


def test_lookalikes_are_letters_of_their_own_unless_they_are_ignored():
    assert accuracy('"C00L" on a shirt', "COOL") == 0.5
    assert accuracy('"C00L" on a shirt', "COOL", ignore_lookalikes=True) == 1
    accurate = TextAccuracy(ignore_case=False, ignore_lookalikes=True).accuracy
    assert accurate("Il1O0", "1Il0O") == 1
    assert accurate("i", "I") == accurate("o", "0") == 0
    assert TextAccuracy(ignore_lookalikes=True).accuracy("iIlL1oO0", "LLLLLOOO") == 1


def test_spaces_count_if_asked():
    assert accuracy('"NO GO" on a door', "NO", "GO") == accuracy('"NOGO" on a door', "NO", "GO") == 1
    assert accuracy('"NO GO" on a door', "NO", "GO", ignore_spaces=False) == 1
    assert accuracy('"NOGO" on a door', "NO", "GO", ignore_spaces=False) == 1 - 1 / 4
    assert TextAccuracy(ignore_spaces=False).accuracy("no  go ", " no\ngo") == 1


def test_more_than_the_words_is_no_error_if_allowed():
    assert accuracy('"NOW" on a door', "OPEN", "NOW", allow_more=True) == 1
    assert accuracy('"NEW" on a door', "OPEN", "NOW", allow_more=True) == 0


def test_an_image_without_quoted_words_or_with_missing_values_has_no_score():
    images = picture("OPEN").repeat(4, 1, 1, 1)
    images[3, 0, 5, 5] = torch.nan
    scores = TextAccuracy()(images, ['"OPEN"', "an open door", 'an empty sign: ""', '"OPEN"'])
    assert scores[0] == 1 and scores[1:].isnan().all()


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ('a "cat" and a "dog"', ["cat", "dog"]),
        ("„Guten Tag“ und “good day”", ["Guten Tag", "good day"]),
        ("« Bonjour » puis ‘don’t walk’", [" Bonjour ", "don’t walk"]),  # noqa: RUF001
        ('“says "yes" twice”', ['says "yes" twice']),
        ("the dogs' toys aren't here", []),
        ('a 12" ruler', []),
        ('"" and "  "', []),
        ('a sign\n"two\nlines"', ["two\nlines"]),
    ],
)
def test_quoted_parts(prompt, parts):
    assert quoted(prompt) == parts


LETTERS = st.text("abcABC01lIOo ", max_size=9)


@given(LETTERS.filter(str.strip), LETTERS)
def test_accuracy_is_the_edit_distance_over_the_length(wanted, found):
    exact = TextAccuracy(ignore_case=False).accuracy
    left, right = wanted.replace(" ", ""), found.replace(" ", "")
    assert exact(wanted, found) == pytest.approx(max(0, 1 - distance(left, right) / len(left)))


@given(LETTERS.filter(str.strip), LETTERS)
def test_what_is_ignored_never_lowers_the_accuracy(wanted, found):
    strict = TextAccuracy(ignore_case=False).accuracy(wanted, found)
    for option in ({"ignore_case": True}, {"ignore_lookalikes": True}, {"allow_more": True}):
        relaxed = TextAccuracy(**({"ignore_case": False} | option)).accuracy(wanted, found)
        assert strict <= relaxed <= TextAccuracy(ignore_lookalikes=True, allow_more=True).accuracy(wanted, found)


def test_full_width_signs_are_the_plain_ones():
    assert TextAccuracy(ignore_case=False).accuracy("OK!", "ＯＫ！") == 1  # noqa: RUF001


def test_nothing_wanted_is_refused():
    with pytest.raises(ValueError, match="the target text is empty"):
        TextAccuracy().accuracy(" ", "a")


def test_a_missing_package_is_said_with_its_command(monkeypatch):
    assert TextAccuracy().missing() is None
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "cv2", None)
        assert "pip install opencv-python-headless" in (TextAccuracy().missing() or "")
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", None)
    assert TextAccuracy().missing() == "the package rapidocr-onnxruntime; run pip install 'hypernoise_pl[ocr]'"
