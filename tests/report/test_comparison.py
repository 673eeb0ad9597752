"""A comparison's chart, run folder and report."""

import itertools
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hypernoise_pl.report.charts import APART, Line, against_compute
from hypernoise_pl.report.page import write_report
from hypernoise_pl.report.results import Results
from tests.report.handmade import COMPARISON


@pytest.mark.parametrize("count", [2, 12, 45])
def test_a_chart_names_every_line_and_no_two_names_touch(count):
    many = [
        Line(f"m<{k}>", "x" if k % 2 else "", bool(k % 3), [(2.0**k, 0.1), (3.0 * 2**k, 0.5)]) for k in range(count)
    ]
    drawn = against_compute(many, "cost", "gain")
    assert drawn == against_compute(many, "cost", "gain")
    root = ElementTree.fromstring(drawn)
    name = "{http://www.w3.org/2000/svg}"
    placed = {
        text.text: text.get("transform") for text in root.iter(f"{name}text") if (text.text or "").startswith("m<")
    }
    assert list(placed) == [line.name for line in many]
    height = float(root.get("viewBox").split()[-1])
    heights = sorted(float(re.findall(r"[-\d.]+", transform)[-1]) for transform in placed.values())
    assert min(b - a for a, b in itertools.pairwise(heights)) > APART - 0.2 and heights[0] > 0 and heights[-1] <= height
    points = [float(x) for x in re.findall(r'</title>.*?<use [^>]*\bx="([-\d.]+)"', drawn, re.DOTALL)]
    assert len(points) == 2 * count
    gaps = [b - a for a, b in itertools.pairwise(points[::2])]
    assert points[::2] == sorted(points[::2]) and max(gaps) - min(gaps) < 0.21  # doublings are equally far apart


def test_seconds_of_several_devices_are_reported_not_to_compare(tmp_path):
    results = Results(tmp_path)
    results.begin({}, lambda before, now: None)
    for label in ("none", "best-16"):
        rows = COMPARISON[label]
        halves = rows[:4], [replace(row, cost=replace(row.cost, device="another")) for row in rows[4:]]
        for number, own in enumerate(halves):
            results.add(label, number, own, torch.rand(4, 3, 6, 6))
    write_report(results, ["none", "best-16"], "none", "description")
    said = "seconds are of several devices (another, cpu) and do not compare"
    assert said in (tmp_path / "report.md").read_text() and said in (tmp_path / "report.html").read_text()


def test_a_report_from_a_folder(tmp_path: Path):
    results = Results(tmp_path)
    results.begin({"a": 1}, lambda before, now: None if before == now else "a")
    draws = torch.Generator().manual_seed(0)
    for label, own in COMPARISON.items():
        pictures = torch.rand(8, 3, 6, 6, generator=draws)
        results.add(label, 0, own[:4], pictures[:4])
        assert results.has(label, 0) and not results.has(label, 1)
        results.add(label, 1, own[4:], pictures[4:])
        back = results.images(results.rows([label])[label])
        torch.testing.assert_close(back, pictures, rtol=0, atol=0.5 / 255 + 1e-6)
    assert results.rows(["net"]) == {"net": COMPARISON["net"]}
    found = write_report(results, list(COMPARISON), "none", "about <this>", lambda images: images.flatten(1))["methods"]
    assert found["none"]["diversity"] > 0 and found["net"]["kid"] is not None
    page = (tmp_path / "report.html").read_text()
    assert "about &lt;this&gt;" in page and page.count("<img") == 4 * len(COMPARISON)
    with pytest.raises(ValueError, match="holds results with a; give another --output"):
        results.begin({"a": 2}, lambda before, now: "a")
    (tmp_path / "comparison.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        results.begin({"a": 1}, lambda before, now: None)
