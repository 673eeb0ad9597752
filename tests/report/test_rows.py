"""Image rows: one per image of a rollout, paired by prompt and noise, the same after they were written and read."""

import math

import pytest

from hypernoise_pl.report.parquet import read_rows, write_rows
from hypernoise_pl.report.rows import columns, paired
from hypernoise_pl.types import Prompt
from tests.report.handmade import BASE, COMPARISON, PROMPTS, rollouts, three


def test_rollout_rows_number_the_noises_of_each_prompt():
    methods = three()
    assert [(row.prompt, row.seed) for row in methods["base"]] == [(p, seed) for p in range(4) for seed in (0, 1)]
    assert [(row.prompt, row.seed) for row in methods["reference"]] == [(p, 0) for p in range(4)]
    first = methods["reference"][0]
    assert (first.method.search, first.method.trained, first.cost.nfe, first.cost.nfe_backward) == (
        "ReNO",
        False,
        50,
        25,
    )
    assert (methods["hypernetwork"][0].method.search, methods["hypernetwork"][0].method.trained) == (None, True)
    assert [row.judge for row in methods["base"]] == BASE


def test_methods_are_paired_on_the_images_that_all_have():
    methods = three()
    own, base, reference = paired(methods["hypernetwork"], methods["base"], methods["reference"])
    assert [row.prompt for row in own] == [0, 1, 2, 3] and [row.reward for row in base] == [0.0, 2.0, 4.0, 6.0]
    assert reference == methods["reference"]


def test_images_that_two_processes_made_count_once_in_a_pair():
    more = rollouts("base", BASE, [9.0] * 8, prompts=[Prompt("c", "a", index=9), *PROMPTS[1:]])
    joined = three()["base"] + more
    first, _ = paired(joined, [row for row in joined if row.seed == 0])
    assert [row.prompt for row in first] == [0, 1, 2, 3, 9] and [row.reward for row in first] == [
        0.0,
        2.0,
        4.0,
        6.0,
        9.0,
    ]


def test_rows_are_the_same_after_they_were_written_and_read(tmp_path):
    rows = COMPARISON["none"] + COMPARISON["net"]
    write_rows(rows, tmp_path / "rows.parquet")
    assert read_rows(tmp_path / "rows.parquet") == rows
    unjudged = rollouts("base", BASE, [0.0] * 8, judged=False)
    write_rows(unjudged, tmp_path / "unjudged.parquet")
    assert read_rows(tmp_path / "unjudged.parquet") == unjudged and "judge" not in columns(unjudged)


def test_rows_of_another_version_are_refused_in_one_line(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"label": ["none"], "reward": [math.pi]}), tmp_path / "old.parquet")
    with pytest.raises(ValueError, match=r"old\.parquet: has no column 'method'; another version wrote it"):
        read_rows(tmp_path / "old.parquet")
    (tmp_path / "bad.parquet").write_text("{")
    with pytest.raises(ValueError, match="damaged; remove it"):
        read_rows(tmp_path / "bad.parquet")
