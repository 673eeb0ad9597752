"""``score`` of what ``predict`` and ``compare`` write has the figures that ``test`` and ``compare`` have themselves."""

import json
from pathlib import Path

import pytest
import yaml

from hypernoise_pl.__main__ import main
from hypernoise_pl.shapes.prompts import ShapesPrompts
from tests.score.drawn import metadata, score, write_lines
from tests.tiny_adapter import save_shapes_adapter

pytestmark = pytest.mark.usefixtures("own_folder")

LORA = [
    "--model.adapter.lora.rank=2",
    "--model.adapter.lora.alpha=4",
    "--data.test=12",
    "--model.reference_search=null",
]


@pytest.mark.slow
def test_images_of_predict_have_the_judge_score_of_the_test(capsys):
    save_shapes_adapter(Path("adapter"))
    given = ["--adapter=adapter", *LORA]
    assert main(["test", *given, "--output=tested"]) == 0
    assert main(["predict", *given, "--benchmark=shapes", "--output=predicted"]) == 0
    assert "score shapes predicted" in capsys.readouterr().out
    summary = score("predicted")
    tested = json.loads(Path("tested/summary.json").read_text())["methods"]
    for kind, name in (("base", "base"), ("refined", "hypernetwork")):
        own = summary["methods"][kind]
        assert own["images"] == 48 and own["score"] == pytest.approx(tested[name]["judge"]["mean"], abs=1e-6)
    assert summary["gains"]["refined"]["mean"] == pytest.approx(tested["hypernetwork"]["gain"], abs=1e-6)
    assert score("predicted", "--method=refined", output="one")["score"] == summary["methods"]["refined"]["score"]
    plain = score("predicted/base", output="base")
    assert plain["score"] == summary["methods"]["base"]["score"]
    Path("predicted/base/00003/samples/0002.png").unlink()
    Path("predicted/refined/00003/samples/0002.png").unlink()
    fewer = score("predicted", output="fewer")
    assert fewer["images_left_out"] == 2 and [left["method"] for left in fewer["left_out"]] == ["base", "refined"]
    assert score("predicted", "--method=base", output="fewer-base")["images_left_out"] == 1


def test_images_of_user_prompts_are_found_by_their_rows():
    save_shapes_adapter(Path("adapter"))
    prompts = ShapesPrompts(test=2).prompts("test")[:2]
    write_lines(Path("p.jsonl"), [*map(metadata, prompts)])
    given = ["predict", "--adapter=adapter", "--prompts=p.jsonl", *LORA, "--seeds=0,1", "--output=predicted"]
    assert main(given) == 0
    summary = score("predicted", "--metadata=p.jsonl")
    assert [own["images"] for own in summary["methods"].values()] == [4, 4]


def test_images_of_a_comparison_have_its_figures():
    search = {"class_path": "hypernoise_pl.search.random_search.RandomSearch"}
    methods = [{"name": "none"}, {"name": "random", "search": search, "budgets": [2]}]
    settings = {"prompts": 6, "seeds": 2, "unit_size": 4, "methods": methods, "base": "none"}
    Path("c.yaml").write_text(yaml.safe_dump({"compare": settings}))
    assert main(["compare", "--config=c.yaml", "--data.test=6", "--output=compared"]) == 0
    write_lines(Path("all.jsonl"), [*map(metadata, ShapesPrompts(test=6).prompts("test"))])
    summary = score("compared", "--metadata=all.jsonl")
    compared = json.loads(Path("compared/summary.json").read_text())
    assert [own["images"] for own in summary["methods"].values()] == [12, 12]
    for name, own in summary["methods"].items():
        assert own["score"] == pytest.approx(compared["methods"][name]["judge"]["mean"], abs=1e-6)
