"""A sweep's table, page and summary, of a real study whose fits are written by hand."""

import json
import math
import re
from pathlib import Path

import optuna
import pytest
from PIL import Image

from hypernoise_pl.report.parallel import Axis, Mark, parallel, scatter
from hypernoise_pl.sweep.definition import Definition
from hypernoise_pl.sweep.report import write_report
from hypernoise_pl.sweep.results import best_points, fit_command, mean_interval, read_points
from hypernoise_pl.sweep.study import open_storage, open_study, start_trial
from hypernoise_pl.sweep.table import table, table_rows
from hypernoise_pl.sweep.validations import VALIDATIONS, read_validations

PARAMETERS = {"model.adapter.lora.rank": [8, 16], "model.optimizer.lr": {"low": 1e-4, "high": 1e-2, "log": True}}


def made(folder: Path, gains: dict[int, list[list[float]]], states=None, **changes):
    """A study with, for each point, the gains of each seed at steps 100, 200, ..."""
    definition = Definition(**{"name": "mine", "parameters": PARAMETERS, "trials": len(gains), "seeds": 2} | changes)
    study = open_study(definition, open_storage(folder, None))
    for number, seeds in gains.items():
        trial = start_trial(study, definition, number)
        for each in definition.dimensions:
            each.suggest(trial)
        for seed, curve in enumerate(seeds):
            own = folder / f"trials/{number:04d}/seed-{seed}"
            (own / "images").mkdir(parents=True)
            Image.new("RGB", (4, 4), (number, 0, 0)).save(own / "images/validation-000200.png")
            lines = [
                json.dumps(
                    {"step": 100 * (place + 1), "figures": {name: sign * gain for name, sign in FIGURES.items()}}
                )
                for place, gain in enumerate(curve)
            ]
            (own / VALIDATIONS).write_text("\n".join(lines) + "\n")
        state = (states or {}).get(number, "COMPLETE")
        if state == "COMPLETE":
            study.tell(
                trial,
                [FIGURES[name] * sum(curve[-1] for curve in seeds) / len(seeds) for name in definition.objectives],
            )
        elif state != "RUNNING":
            study.tell(trial, state=optuna.trial.TrialState[state])
    return definition, study


FIGURES = {"validation/gain": 1.0, "validation/hypernetwork/diversity": -1.0}


def test_best_point_has_the_best_mean_over_seeds(tmp_path):
    gains = {0: [[0.0, 0.3], [0.0, 0.1]], 1: [[0.0, 0.25], [0.0, 0.2]], 2: [[0.9], []], 3: [[0.1, 0.1], [0.1, 0.2]]}
    definition, study = made(tmp_path, gains, {2: "PRUNED"})
    found = read_points(study, definition, tmp_path)
    assert [point.number for point in best_points(found, definition, study)] == [1]
    lines = table_rows(found, definition)
    assert [line[0] for line in lines] == ["trial", "1", "0", "3", "2"]
    assert lines[1][3:6] == ["0.225", "-0.0926 to 0.543", "0.25, 0.2"] and lines[4][4] == "-"
    assert lines[1][-3:] == ["200 + 200", "0.0 min", "complete"]
    assert max(len(line) for line in table(found, definition).splitlines()) <= 80


def test_interval_over_seeds_uses_students_t_distribution():
    assert mean_interval([1.0]) is None
    assert mean_interval([1.0, 3.0]) == pytest.approx((2 - 12.706, 2 + 12.706))
    for count, quantile in [(3, 4.303), (11, 2.228), (12, 2.201), (31, 2.042), (121, 1.980)]:  # a printed table's
        values = [float(place % 2) for place in range(count)]
        mean = sum(values) / count
        half = quantile * math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1) / count)
        assert mean_interval(values) == pytest.approx((mean - half, mean + half), abs=2e-3 * half)


def test_repeated_steps_of_a_continued_run_count_once(tmp_path):
    lines = [(100, 0.1), (200, 0.2), (300, 0.3), (200, 0.25)]  # killed after 300, continued from before 200
    text = "".join(json.dumps({"step": step, "figures": {"gain": gain}}) + "\n" for step, gain in lines)
    (tmp_path / VALIDATIONS).write_text(text + '{"step": 300, "fig')
    assert read_validations(tmp_path) == {100: {"gain": 0.1}, 200: {"gain": 0.25}}


def test_page_and_summary_show_the_results(tmp_path):
    gains = {number: [[0.01 * number, 0.02 * number]] * 2 for number in range(6)}
    definition, study = made(tmp_path, gains, {4: "FAIL", 5: "RUNNING"}, description="a <test>")
    write_report(definition, study, tmp_path, tmp_path / "base.yaml")
    page, summary = (tmp_path / "report.html").read_text(), json.loads((tmp_path / "summary.json").read_text())
    assert summary["best"] == [3] and not summary["finished"] and 'http-equiv="refresh"' in page
    assert "6 of 6 trials begun: 4 complete, 1 failed, 1 running. The best is trial 3" in page
    assert "a &lt;test&gt;" in page and "<test>" not in page
    assert summary["commands"]["3"] in page.replace("&#39;", "'") and "fit --config" in summary["commands"]["3"]
    assert page.count("data:image/png;base64,") == 1 and 'href="trials/0003/seed-0/live.html"' in page
    assert sum(summary["importance"].values()) == pytest.approx(1.0) and "What mattered" in page
    assert not re.search(r'(src|href)="(http|//)', page)  # it needs no network
    assert page.count("<g><title>trial ") == page.count("<polyline") == 6  # a line a trial, and a learning curve each


def test_running_sweep_has_a_page(tmp_path):
    definition, study = made(tmp_path, {0: [[], []]}, {0: "RUNNING"}, trials=3)
    write_report(definition, study, tmp_path, tmp_path / "base.yaml")
    assert "1 of 3 trials begun: 1 running." in (tmp_path / "report.html").read_text()
    assert json.loads((tmp_path / "summary.json").read_text())["best"] == []


def test_page_shows_the_pareto_front_of_several_objectives(tmp_path):
    gains = {number: [[0.1 * number]] for number in range(3)}
    directions = {"validation/gain": "maximize", "validation/hypernetwork/diversity": "maximize"}
    definition, study = made(tmp_path, gains, seeds=1, objectives=directions)
    write_report(definition, study, tmp_path, tmp_path / "base.yaml")
    page = (tmp_path / "report.html").read_text()
    assert "3 of them are on the Pareto front" in page and "One objective against the other" in page


def test_fit_command_has_all_settings_of_the_point(tmp_path):
    definition, study = made(tmp_path, {0: [[0.1]]}, seeds=1)
    (point,) = read_points(study, definition, tmp_path)
    words = fit_command(point, definition, Path("base.yaml")).split()
    assert words[:6] == ["python", "-m", "hypernoise_pl", "fit", "--config", "base.yaml"]
    assert {word.partition("=")[0] for word in words[6:]} == {"--model.adapter.lora.rank", "--model.optimizer.lr"}
    assert float(words[7].partition("=")[2]) == point.values["model.optimizer.lr"]


def test_parallel_coordinates_place_values_on_their_axes():
    marks = [Mark("a", {"x": "8", "y": 1e-3, "z": 0.0}, best=True), Mark("b", {"x": "16", "y": 1e-1, "z": 1.0})]
    picture = parallel([Axis("x", ["8", "16"]), Axis("y", ends=(1e-4, 1.0), log=True), Axis("z")], marks)
    lines = {
        name: [tuple(map(float, pair.split()[-2:])) for pair in re.split("[ML]", path)[1:]]
        for name, path in re.findall(r'<title>([^<]*)</title>\s*<path d="([^"]*)"', picture)
    }
    assert [x for x, _ in lines["a"]] == [x for x, _ in lines["b"]] == [70, 450, 830]
    low, high = [lines[name][1][1] for name in "ab"]
    assert low - high == pytest.approx(
        (300 - 22 - 30) * 2 / 4.4, abs=0.2
    )  # two of four decades, with a twentieth more at each end
    assert lines["a"][0][1] > lines["b"][0][1] and lines["a"][2][1] > lines["b"][2][1]  # upwards is more
    assert parallel([Axis("x"), Axis("y")], [Mark("c", {"x": 1.0})]) == "" and scatter("x", "y", []) == ""
    assert scatter("y", "z", marks).count("<g><title>") == 2
