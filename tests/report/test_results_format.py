"""The files of fit, test and compare have the keys that docs/results-format.md documents, and no others."""

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from hypernoise_pl.__main__ import main

PAGE = Path(__file__).parents[2] / "docs" / "results-format.md"
SHORT = ["--trainer.max_steps=2", "--trainer.limit_val_batches=0", "--data.batch_size=4", "--data.test=6",
         "--model.images_per_prompt=2", "--trainer.callbacks=[]", "--model.adapter.lora.rank=2"]  # fmt: skip
METHODS = [
    {"name": "none"},
    {"name": "trained", "start": "hypernetwork"},
    {"name": "random", "search": {"class_path": "hypernoise_pl.search.random_search.RandomSearch"}, "budgets": [2]},
]


def documented() -> dict[str, set[str]]:
    """Heading -> keys of its table."""
    sections = re.split(r"^#+ ", PAGE.read_text(), flags=re.M)
    return {section.partition("\n")[0]: set(re.findall(r"^\| `(\w+)`", section, re.M)) for section in sections}


def check(file: Path, fitted: bool) -> None:
    keys, summary = documented(), json.loads(file.read_text())
    assert set(summary) == keys["summary.json"]
    for figures in summary["methods"].values():
        assert set(figures) == keys["Figures of a method"]
    assert (summary["fit"] is not None) == fitted
    if fitted:
        assert set(summary["fit"]) == keys["Training of a fit"]


@pytest.mark.usefixtures("own_folder")
def test_fit_test_and_compare_write_the_documented_keys():
    assert (
        main(
            [
                "fit",
                *SHORT,
                "--model.reference_search=RandomSearch",
                "--model.reference_search.candidates=2",
                "--output=fit",
            ]
        )
        == 0
    )
    check(Path("fit/summary.json"), fitted=True)
    assert set(json.loads(Path("fit/summary.json").read_text())["methods"]) == {"base", "hypernetwork", "reference"}
    assert main(["test", "--adapter=fit/adapter", *SHORT, "--model.reference_search=null", "--output=test"]) == 0
    check(Path("test/summary.json"), fitted=False)
    options = {"methods": METHODS, "prompts": 6, "seeds": 1, "unit_size": 4}
    Path("methods.yaml").write_text(yaml.safe_dump({"compare": options}))
    assert main(["compare", "--config=methods.yaml", "--adapter=fit/adapter", "--output=compared"]) == 0
    check(Path("compared/summary.json"), fitted=False)
    names = set(pq.read_schema("compared/results.parquet").names)
    rewards = {name for name in names if name.startswith("score_")}
    assert names - rewards == documented()["results.parquet"] - {"score_NAME"}
    assert rewards == {"score_clip", "score_pick", "score_image_reward"}
