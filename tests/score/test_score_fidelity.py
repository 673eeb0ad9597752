"""``score fidelity``: one set of images against another, and method against method in pairs."""

import math
from pathlib import Path

import pytest
import torch

from hypernoise_pl.config.files import PACKAGE
from hypernoise_pl.metrics.fidelity import Fidelity
from hypernoise_pl.rewards.features import CLIPImageFeatures
from tests.score.drawn import PROMPTS, picture, score, write_lines

pytestmark = pytest.mark.usefixtures("own_folder")


def pixels(indices) -> torch.Tensor:
    import numpy as np

    return torch.stack([torch.from_numpy(np.array(picture(index))) for index in indices]).movedim(-1, 1).float() / 255


def features(indices) -> torch.Tensor:
    with torch.no_grad():
        return CLIPImageFeatures(str(PACKAGE / "shapes" / "weights" / "clip"))(pixels(indices)).double()


def test_plain_folder_is_compared_with_another_folder():
    for name, indices in (("one", range(7)), ("two", range(5, 12))):
        Path(name).mkdir()
        for index in indices:
            picture(index).save(f"{name}/{index:02}.png")
    Path("one/broken.png").write_bytes(b"")
    summary = score("one", "--against=two", "--batch-size=7", benchmark="shapes_fidelity")
    own = summary["methods"]["images"]
    expected = Fidelity.of(features(range(7)), features(range(5, 12)), [*range(7)]).figures
    assert (own["images"], own["against"], summary["images_left_out"]) == (7, 7, 1)
    assert summary["left_out"][0]["image"] == "broken.png"
    for name, value in expected.items():
        assert own["figures"][name] == (None if math.isnan(value) else pytest.approx(value, rel=1e-3, abs=1e-5)), name
    same = score("one", "--against=one", benchmark="shapes_fidelity", output="same")["methods"]["images"]["figures"]
    assert same["fid"] == pytest.approx(0, abs=1e-6) and (same["precision"], same["recall"]) == (1, 1)


def test_methods_are_compared_with_the_first_method_in_pairs():
    rows = [
        {"prompt": PROMPTS[index].text + str(index), "image_path": f"{method}{index}.png", "method": method}
        for method in ("old", "new")
        for index in range(6)
    ]
    for index in range(6):
        picture(index).save(f"old{index}.png")
        picture(index + 1).save(f"new{index}.png")
    write_lines(Path("rows.jsonl"), rows)
    summary = score("rows.jsonl", "--batch-size=12", benchmark="shapes_fidelity")
    assert summary["against"] == "old" and list(summary["methods"]) == ["old", "new"]
    assert set(summary["methods"]["old"]["figures"]) == {"feature_distance", "vendi"}
    paired = Fidelity.of(features(range(1, 7)), features(range(6)), [*range(6)], True).figures["kid"]
    apart = Fidelity.of(features(range(1, 7)), features(range(6)), [*range(6)], False).figures["kid"]
    found = summary["methods"]["new"]["figures"]["kid"]
    assert found == pytest.approx(paired, rel=1e-3, abs=1e-5) and abs(found - apart) > 1e-3


def test_too_few_images_have_no_figure_and_a_caveat(capsys):
    for name in ("one", "two"):
        Path(name).mkdir()
        picture(0).save(f"{name}/a.png")
    summary = score("one", "--against=two", benchmark="shapes_fidelity")
    figures = summary["methods"]["images"]["figures"]
    assert figures["fid"] is figures["kid"] is figures["precision"] is None
    assert "FID and KID are left out: they need two images of each set" in " ".join(capsys.readouterr().out.split())
