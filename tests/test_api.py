"""The Python API does what the commands do."""

import json
import re
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import hypernoise_pl
from hypernoise_pl import build_run, load_run, score_images
from hypernoise_pl.__main__ import main
from hypernoise_pl.config.files import PACKAGE
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.search.random_search import RandomSearch

pytestmark = pytest.mark.usefixtures("own_folder")
FEW = {
    "trainer.max_steps": 2,
    "trainer.limit_val_batches": 0,
    "data.batch_size": 4,
    "data.test": 6,
    "model.reference_search": None,
    "model.images_per_prompt": 2,
    "trainer.callbacks": [],
}
FLAGS = [f"--{name}={json.dumps(value)}" for name, value in FEW.items()]
TIMED = ("seconds", "seconds_per_image", "seconds_per_step", "device")


def untimed(figures: dict) -> dict:
    kept = {name: value for name, value in figures.items() if name not in TIMED}
    return {name: untimed(value) if isinstance(value, dict) else value for name, value in kept.items()}


def test_a_run_is_trained_loaded_and_asked_as_by_the_commands(capsys):
    run = build_run(values=FEW, output="ours")
    found = run.fit()
    assert found == json.loads(Path("ours/summary.json").read_text())
    assert main(["fit", *FLAGS, "--output=theirs"]) == 0
    assert untimed(found) == untimed(json.loads(Path("theirs/summary.json").read_text()))

    loaded = load_run("theirs/adapter")
    texts = ["a red circle", "a blue star"]
    flags = [f"--prompt={text}" for text in texts]
    assert main(["predict", *flags, "--seeds=3,5", "--adapter=theirs/adapter", "--output=made"]) == 0
    rows = [json.loads(line) for line in Path("made/predictions.jsonl").read_text().splitlines()]
    for kind, strength in (("base", 0.0), ("refined", 1.0)):
        rollout = loaded.generate(texts, seeds=[3, 5], strength=strength)
        own = [row for row in rows if row["kind"] == kind]
        assert [prompt.text for prompt in rollout.prompts] == [row["prompt"] for row in own]
        for row, image in zip(own, rollout.images, strict=True):
            pixels = torch.from_numpy(np.array(Image.open(Path("made", row["file"])))).movedim(-1, 0) / 255
            assert torch.allclose(image.clamp(0, 1), pixels, atol=0.5 / 255 + 1e-5)

    searched = loaded.search(texts, RandomSearch(8), seeds=[3])
    base = loaded.generate(texts, seeds=[3], strength=0.0)
    weighted = [sum(weight * rollout.scores[name] for name, weight in loaded.model.ensemble.weights.items())
                for rollout in (searched, base)]  # fmt: skip
    assert bool((weighted[0] >= weighted[1] - 1e-5).all()) and searched.nfe == 8

    assert main(["predict", "--benchmark=shapes", "--adapter=theirs/adapter", "--output=asked"]) == 0
    figures = score_images("shapes", "asked", output="scored")
    assert figures == json.loads(Path("scored/summary.json").read_text())
    assert set(figures["methods"]) == {"base", "refined"}
    assert not list(Path("runs").rglob("*")) if Path("runs").exists() else True


def test_the_code_that_readme_shows_runs():
    text = (PACKAGE.parent / "README.md").read_text()
    (code,) = re.findall(
        r"\n\n((?:    .*\n|\n)*    from hypernoise_pl import build_run(?:.*\n|\n)(?:    .*\n|\n)*)", text
    )
    few = {**FEW, "trainer.max_steps": 1}
    code = (
        textwrap.dedent(code)
        .replace('{"trainer.max_steps": 100}', repr(few))
        .replace("RandomSearch(16)", "RandomSearch(2)")
    )
    names: dict = {}
    exec(code, names)
    assert len(names["refined"].images) == len(names["searched"].images) == 2
    assert (names["refined"].nfe, names["searched"].nfe) == (2, 2)


def test_what_is_wrong_is_a_config_error_and_no_folder_is_left():
    with pytest.raises(ConfigError, match="did you mean"):
        build_run(values={"trainer.max_stepz": 2})
    with pytest.raises(FileNotFoundError):
        load_run("nowhere/adapter")
    assert not list(Path().iterdir())


def test_public_names_are_listed_and_come_when_they_are_asked_for():
    assert {"Run", "attach", "build_run", "detach", "load_run", "score_images"} <= set(dir(hypernoise_pl))
    assert all(callable(getattr(hypernoise_pl, name)) for name in dir(hypernoise_pl) if name != "__version__")
    with pytest.raises(AttributeError, match="no attribute 'lode_run'"):
        _ = hypernoise_pl.lode_run
