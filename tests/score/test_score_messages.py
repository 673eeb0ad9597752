"""What the user of ``score`` has wrong is one line, with exit status 2, and nothing is written."""

from pathlib import Path

import pytest

from hypernoise_pl.__main__ import main
from tests.score.drawn import picture, score, strict, write_folder, write_lines

pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["shape", "images"], "no benchmark is called 'shape' (did you mean 'shapes'?)"),
        (["nope.yaml", "images"], "benchmark nope.yaml: no such file"),
        (["shapes", "nope"], "images nope: no such file or folder"),
        (["shapes"], "IMAGES: missing; give a folder or a JSONL file after the benchmark"),
        (["shapes", "empty"], "images empty: no prompts beside the images; give the benchmark's file"),
        (["shapes", "empty", "--metadata=dragon.jsonl"], "no image of the benchmark there, such as 00000/samples/"),
        (["shapes", "text.txt"], "images text.txt: neither a folder nor a JSONL file"),
        (["shapes", "damaged.jsonl"], "images damaged.jsonl, line 2: not JSON"),
        (["shapes", "other.jsonl"], "line 1: needs an object with \"image_path\" (did you mean 'imagepath'?)"),
        (["shapes", "none.jsonl"], "images none.jsonl: empty; it needs at least one line"),
        (["shapes", "predicted"], "images predicted/predictions.jsonl: empty; it needs at least one line"),
        (["shapes", "comparison"], "images comparison: an unfinished comparison; run the same compare again"),
        (
            ["shapes", "dragon.jsonl"],
            "JudgeBenchmark cannot score 1 of 1 prompts; the first, 'a dragon', has no 'include'",
        ),
        (["shapes", "images", "--metadata=nope.jsonl"], "prompt file nope.jsonl: no such file"),
        (["shapes", "images", "--batch-size=0"], "--batch-size 0: at least 1 is needed"),
        (
            ["shapes", "images", "--shard=2/2"],
            "--shard 2/2: must be number/count, such as 0/2 and 1/2 for two processes",
        ),
        (["shapes", "images", "--shard=0/2"], "several processes need a common folder; give --output DIR"),
        (["shapes", "images", "--against=images"], "--against: shapes holds images against none; fidelity does"),
        (
            ["shapes", "images", "--method=base"],
            "--method base: no image has this method; the images have no method names",
        ),
        (["shapes", "images", "--detector=DETR"], "--detector: names what a --detections file comes from"),
        (["shapes", "images", "--benchmark.judge.chunk=x"], "--benchmark.judge.chunk: got 'x'; give a whole"),
        (["shapes", "images", "--benchmark.nope=1"], "--benchmark.nope: benchmark: no key is called 'nope' of Judge"),
        (["shapes", "images", "--bench.judge.chunk=1"], "no key is called 'bench' (did you mean 'benchmark'?)"),
        (["shapes", "images", "--output=text.txt"], "--output text.txt: a file; give a folder"),
        (["shapes", "images", "--output=fitted"], "--output fitted: holds another run's figures; give another"),
        (["shapes_fidelity", "images"], "the reference images are missing; give their folder: --against DIR"),
        (["shapes_fidelity", "images", "--against=nope"], "images nope: no such file or folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_arguments_give_a_one_line_error(given, said, capsys):
    write_folder(Path("images"), images=1)
    for name in ("empty", "fitted", "predicted", "comparison/parts"):
        Path(name).mkdir(parents=True)
    for name in ("text.txt", "none.jsonl", "fitted/summary.json", "predicted/predictions.jsonl"):
        Path(name).touch()
    Path("comparison/comparison.json").touch()
    write_lines(Path("dragon.jsonl"), [{"prompt": "a dragon", "image_path": "images/00000/samples/0000.png"}])
    write_lines(Path("other.jsonl"), [{"prompt": "a dragon", "imagepath": "a.png"}])
    Path("damaged.jsonl").write_text('{"prompt": "a", "image_path": "a.png"}\n{"prompt": ')
    before = sorted(Path().rglob("*"))
    assert main(["score", *given]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert line.startswith("hypernoise_pl score: error: ") and said in line
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("benchmrk: {}", "config own.yaml: no key is called 'benchmrk' (did you mean 'benchmark'?)"),
        ("benchmark: null", "config own.yaml: needs the key benchmark, with a class_path"),
        (
            "benchmark: {class_path: hypernoise_pl.metrics.judge_benchmark.JudgeBenchmrk}",
            "has no 'JudgeBenchmrk' (did you mean 'JudgeBenchmark'?)",
        ),
        ("benchmark: {class_path: hypernoise_pl.rewards.clip.CLIPScore}", "CLIPScore is no Benchmark"),
        ("benchmark: {class_path: JudgeBenchmark}", "benchmark: the following arguments are required: judge"),
        (
            "benchmark: {class_path: JudgeBenchmark, init_args: {judge: 3}}",
            "benchmark.judge: Not a valid subclass of Judge",
        ),
        (
            "benchmark: {class_path: JudgeBenchmark, init_args: {judg: 3}}",
            "no key is called 'judg' of JudgeBenchmark (did you mean",
        ),
        ("benchmark: [", "config own.yaml: not YAML"),
    ],
)
def test_wrong_benchmark_file_gives_a_one_line_error(text, said, capsys):
    write_folder(Path("images"), images=1)
    Path("own.yaml").write_text(text)
    assert main(["score", "own.yaml", "images"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert said in line and not Path("runs").exists()


def test_user_file_is_a_benchmark_and_json_equals_the_summary(capsys):
    write_folder(Path("images"), images=1)
    Path("own.yaml").write_text(
        "benchmark: {class_path: JudgeBenchmark, init_args: {judge: {class_path: hypernoise_pl.shapes.judge.ShapesJudge}}}"
    )
    summary = score("images", "--json", benchmark="own.yaml")
    assert strict(capsys.readouterr().out) == summary and summary["benchmark"] == "own.yaml"


@pytest.mark.parametrize("benchmark", ["shapes_rewards", "text_rendering"])
def test_summary_without_a_figure_is_strict_json(benchmark):
    """No prompt quotes a word, so that the text benchmark has no figure, and no difference of two methods."""
    if benchmark == "text_rendering":
        pytest.importorskip("rapidocr_onnxruntime")
    picture(0).save("a.png")
    rows = [{"prompt": "a ring", "image_path": "a.png", "method": method} for method in ("one", "two")]
    summary = score(str(write_lines(Path("rows.jsonl"), rows)), benchmark=benchmark)
    gain = 0.0 if benchmark == "shapes_rewards" else None
    assert summary["gains"]["two"]["mean"] == gain
    assert summary["gains"]["two"]["images"] == summary["methods"]["two"]["images"] == int(gain is not None)
