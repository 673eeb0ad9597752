"""``predict`` keeps what is whole, makes what is missing, and mixes no settings."""

import json
from pathlib import Path

import pytest

from hypernoise_pl.__main__ import main
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.runs.predictions import Predictions
from tests.tiny_adapter import save_shapes_adapter

LORA = ["--model.lora.rank=2", "--model.lora.alpha=4"]


def row(number: int, kind: str = "base") -> dict:
    return {"number": number, "kind": kind, "file": f"{number}-{kind}.png"}


def test_rows_without_their_image_or_cut_short_are_made_anew(tmp_path):
    first = Predictions(tmp_path / "a", {"seeds": [0]})
    for number in range(3):
        for kind in ("base", "refined"):
            (tmp_path / "a" / f"{number}-{kind}.png").touch()
        first.add([row(number), row(number, "refined")])
    (tmp_path / "a" / "1-refined.png").unlink()
    with (tmp_path / "a" / "predictions.jsonl").open("a") as file:
        file.write(json.dumps(row(3)) + '\n{"number": 3, "ki')
    again = Predictions(tmp_path / "a", {"seeds": [0]})
    assert [again.of(number, 2) is not None for number in range(5)] == [True, False, True, False, False]
    lines = (tmp_path / "a" / "predictions.jsonl").read_text().splitlines()
    assert [json.loads(line)["number"] for line in lines] == [0, 0, 2, 2]


def test_other_settings_are_refused_and_an_unfinished_folder_of_the_same_is_found(tmp_path):
    Predictions(tmp_path / "a", {"seeds": [0], "strength": 1.0})
    with pytest.raises(ConfigError, match=r"a: holds images of other settings: strength=1\.0, this run has 0\.5; give"):
        Predictions(tmp_path / "a", {"seeds": [0], "strength": 0.5})
    assert Predictions.unfinished(tmp_path, {"seeds": [0], "strength": 1.0}) == tmp_path / "a"
    assert Predictions.unfinished(tmp_path, {"seeds": [1], "strength": 1.0}) is None
    (tmp_path / "a" / "grid.png").touch()
    assert Predictions.unfinished(tmp_path, {"seeds": [0], "strength": 1.0}) is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:adapter .*trained with guidance_scale")  # the very change that is refused
def test_a_second_command_in_the_folder_adds_nothing_and_another_one_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_shapes_adapter(tmp_path / "adapter")
    Path("p.jsonl").write_text('{"prompt": "a red circle", "tag": "colors", "id": "x"}\n')
    given = ["predict", "--adapter=adapter", "--prompts=p.jsonl", "--prompt=two stars", *LORA, "--output=seen"]
    assert main(given) == 0
    before = {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in Path("seen").glob("*.png")}
    rows = Path("seen/predictions.jsonl").read_text()
    found = [json.loads(line) for line in rows.splitlines()]
    assert [(r["id"], r["tag"], r["kind"]) for r in found] == [
        (0, "", "base"),
        (0, "", "refined"),
        ("x", "colors", "base"),
        ("x", "colors", "refined"),
    ]
    assert main(given) == 0
    assert "4 images (2 prompts were there), predictions.jsonl and grid.png are in seen" in capsys.readouterr().out
    assert Path("seen/predictions.jsonl").read_text() == rows
    for name, (changed, content) in before.items():
        assert Path("seen", name).read_bytes() == content
        assert name == "grid.png" or Path("seen", name).stat().st_mtime_ns == changed
    for flag, said in (
        ("--strength=0.5", "strength=1.0, this run has 0.5"),
        ("--seeds=3", "seeds"),
        ("--trainer.precision=bf16-mixed", "precision=32-true, this run has bf16-mixed"),
        ("--model.generator.guidance_scale=9", "generator.guidance_scale=4.5, this run has 9.0"),
    ):
        capsys.readouterr()
        assert main([*given, flag]) == 2
        assert f"--output seen: holds images of other settings: {said}" in capsys.readouterr().err
    assert Path("seen/predictions.jsonl").read_text() == rows


@pytest.mark.slow
def test_images_are_those_of_the_precision_that_is_asked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_shapes_adapter(tmp_path / "adapter")
    given = ["predict", "--adapter=adapter", "--prompt=a red circle", *LORA]
    for precision in ("32-true", "bf16-mixed"):
        assert main([*given, f"--trainer.precision={precision}", f"--output={precision}"]) == 0
    images = {name: Path(name, "0000-a-red-circle-seed0-base.png").read_bytes() for name in ("32-true", "bf16-mixed")}
    assert images["32-true"] != images["bf16-mixed"]
    assert main([*given, "--trainer.precision=64-true", "--output=other"]) == 2
    assert "trainer.precision 64-true converts all weights" in capsys.readouterr().err
