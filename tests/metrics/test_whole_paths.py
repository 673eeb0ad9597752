"""Every shipped benchmark through the command line: predict writes its layout, score reads it with tiny models."""

import json
from pathlib import Path
from typing import Any

import pytest

from hypernoise_pl.__main__ import main
from hypernoise_pl.config.files import PACKAGE, benchmark_names
from tests.metrics import mask2former
from tests.metrics.test_questions_files import dpg, geneval2, tiif, unigen
from tests.rewards import zoo

pytestmark = pytest.mark.usefixtures("own_folder", "small")
WEIGHTS = PACKAGE / "shapes" / "weights"
IMAGES = {"dpg": 4, "geneval": 4, "geneval2": 1, "t2i_compbench": 10, "tiif": 1, "unigenbench": 4}  # a prompt
OFFLINE = ("shapes", "shapes_fidelity", "shapes_questions", "shapes_rewards", "text_rendering")  # elsewhere
REWARDS = ("drawbench", "hpsv2", "parti_prompts", "fidelity")  # only other names of what OFFLINE runs


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fit")
    given = ["--trainer.max_steps=1", "--trainer.limit_val_batches=0", "--data.batch_size=2", "--data.test=6"]
    few = ["--model.reference_search=null", "--model.images_per_prompt=1", "--trainer.callbacks=[]"]
    assert main(["fit", *given, *few, f"--output={folder}"]) == 0
    return folder / "adapter"


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zoo.blip_vqa(tmp_path_factory.mktemp("blip"))


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mask2former.folder(tmp_path_factory.mktemp("objects"))


def geneval() -> Path:
    clause = {"class": "car", "count": 1, "color": "red"}
    lines = [
        {"tag": "colors", "include": [clause], "prompt": "a photo of a red car"},
        {"tag": "counting", "include": [{"class": "cat", "count": 2}], "prompt": "a photo of two cats"},
    ]
    Path("metadata.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return Path("metadata.jsonl")


def compbench() -> Path:
    Path("dataset").mkdir()
    prompts = {"color": "a red circle and a blue square", "numeracy": "two cats", "non_spatial": "a man is walking"}
    for name, text in prompts.items():
        Path(f"dataset/{name}_val.txt").write_text(f"{text}\n")
    return Path("dataset")


def flags_of(name: str, blip: Path, objects: Path, colours: Path) -> tuple[Path, list[str]]:
    """The benchmark's own file, and tiny models in the place of the configuration's."""
    if name == "geneval":
        return geneval(), [f"--benchmark.detector.model={objects}", f"--benchmark.colours.model={colours}"]
    if name == "t2i_compbench":
        models = {"attributes": blip, "detector": objects, "non_spatial": WEIGHTS / "clip"}
        return compbench(), [f"--benchmark.{part}.model={model}" for part, model in models.items()]
    file = {"geneval2": geneval2, "dpg": dpg, "tiif": tiif, "unigenbench": unigen}[name](Path.cwd())
    answers = f"{{class_path: hypernoise_pl.metrics.questions.blip.BlipAnswerer, init_args: {{model: {blip}}}}}"
    return file, [f"--benchmark.answerer={answers}"]


def flat_of(figures: Any, like: Any = None, name: str = "") -> dict[str, float]:
    """Numbers by dotted names; those alone that another has."""
    if isinstance(figures, dict):
        parts = [flat_of(part, None, f"{name}.{key}") for key, part in figures.items()]
    elif isinstance(figures, list):
        parts = [flat_of(part, None, f"{name}.{place}") for place, part in enumerate(figures)]
    else:
        return {} if figures is None else {name: figures}
    joined = {key: value for part in parts for key, value in part.items()}
    return joined if like is None else {key: joined[key] for key in like}


def test_every_benchmark_is_run_here_or_where_it_is_said():
    assert sorted([*IMAGES, *OFFLINE, *REWARDS]) == benchmark_names()


@pytest.mark.filterwarnings("ignore:BLIP .* has .* tokens")  # the tiny model reads 40
@pytest.mark.parametrize("name", IMAGES)
def test_predict_writes_what_score_reads(name, adapter, blip, objects, colours_folder, capsys):
    file, models = flags_of(name, blip, objects, colours_folder)
    asked = ["--benchmark", name, "--metadata", str(file), "--adapter", str(adapter), "--output=made"]
    assert main(["predict", *asked]) == 0
    rows = [json.loads(line) for line in Path("made/predictions.jsonl").read_text().splitlines()]
    prompts = len({row["number"] for row in rows})
    assert prompts > 1 and len(rows) == 2 * prompts * IMAGES[name]
    assert all(Path("made", row["file"]).is_file() for row in rows)
    assert main(["score", name, "made", "--metadata", str(file), *models, "--output=scored"]) == 0
    both = json.loads(Path("scored/summary.json").read_text())
    assert list(both["methods"]) == ["base", "refined"] and both["left_out"] == []
    for own in both["methods"].values():
        assert own["images"] + own["no_value"] == prompts * IMAGES[name] and own["images"] > 0
        assert own["prompts_of"] == prompts and 0 <= own["score"] <= 1
    shown = capsys.readouterr().out
    assert both["title"] in shown and f"{prompts} prompts" in shown and Path("scored/score.html").is_file()
    # the same images in the benchmark's own folder, as another tool leaves them
    assert main(["score", name, "made/refined", "--metadata", str(file), *models, "--output=alone"]) == 0
    alone = json.loads(Path("alone/summary.json").read_text())
    flat = flat_of({key: alone[key] for key in ("score", "tags", "figures", "images", "no_value")})
    assert flat == pytest.approx(flat_of(both["methods"]["refined"], flat), abs=1e-5)  # batches are others
    own_files = {path.relative_to("alone") for path in Path("alone").rglob("*") if path.is_file()}
    ours = {"settings.json", "outcomes-0-of-1.jsonl", "summary.json", "score.html"}
    assert {str(path) for path in own_files} - ours, "the benchmark's own result files"
