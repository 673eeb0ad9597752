"""Every command and code block that README, studies, benchmarks, configurations, help and messages show is run here.

A command of the shapes world runs whole, in miniature. One whose weights lie on the hub is merged, checked and parsed, up to
where they would be loaded. A new kind of command, or a block that is neither command nor known output, fails.
"""

import itertools
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest
from PIL import Image

from hypernoise_pl.__main__ import main
from hypernoise_pl.cli.command_table import COMMANDS
from hypernoise_pl.cli.parser import command_parsers
from hypernoise_pl.config.files import PACKAGE
from tests.metrics import mask2former

ROOT = PACKAGE.parent
EXTENDING = Path("docs/extending.md")  # whose commands tests/test_extending.py runs, with the files that it shows
DOCUMENTS = [path for path in sorted(ROOT.rglob("*.md")) if not {".venv", "runs"} & set(path.relative_to(ROOT).parts)]
CONFIGS = [path for name in ("conf", "experiments", "benchmarks") for path in sorted((ROOT / name).rglob("*.yaml"))]
SOURCES = sorted((ROOT / "hypernoise_pl").rglob("*.py"))
STARTS = ("python ", "make ", "pip ", "hf ", "tensorboard ")
OUTPUTS = (
    "prompts -> conditioning",
    "__main__      shapes",
    "generator.network            hypernetwork.view",
    "base  hypernetwork",
    "method ",
    "random-64 gains",
    "ReNO (50 iterations) gains",
    "fit ━",
    "runs/sweep/NAME/",
    "export HYPERNOISE_STORAGE=",
    "#!/bin/bash",
)  # first words of shown outputs
TINY = [
    "--trainer.max_steps=1",
    "--trainer.limit_val_batches=0",
    "--trainer.log_every_n_steps=1",
    "--data.batch_size=2",
]
TINY += ["--data.validation=6", "--data.test=6", "--model.reference_search=null", "--model.images_per_prompt=1"]
SAVES = "--trainer.callbacks.3.every_n_train_steps=1"  # of ModelCheckpoint
METHODS = "--compare.methods=[{name: none}, {name: hypernetwork, start: hypernetwork}]"
REAL = ("sana_sprint", "sd_turbo", "sdxl_turbo", "flux_schnell", "pixart_dmd", "strategy/", "human_preference")
STAND_INS = {  # what a command leaves to its reader
    "runs/fit/TIME": "runs/fit/first",
    "runs/predict/TIME": "runs/predict/first",
    "BENCHMARK IMAGES": "shapes runs/predict/first",
    "runs/fit/20261123-101500": "runs/fit/first",
    "runs/sweep/shapes_recipe/trials/0017/seed-0": "runs/fit/first",
    "--data.test=360": "--data.test=6",
    "RECIPE": "sana_sprint",
    "MINE": "sd_turbo",
    "NAME": "SDTurbo",
    "DIR": "cache",
    "accumulate_grad_batches=N": "accumulate_grad_batches=3",
    "my_methods.yaml": "compare",
    "-m hypernoise_pl COMMAND": "-m hypernoise_pl fit",
    " [options]": "",
}


def blocks(document: Path) -> list[str]:
    """Indented and fenced blocks of a Markdown file."""
    text = document.read_text()
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
    indented = re.findall(
        r"(?:\A|\n\n)((?:    .*\n(?:\n(?=    ))?)+)", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    )
    return fenced + [re.sub(r"^    ", "", block, flags=re.M) for block in indented]


def commands_of(text: str) -> list[str]:
    """Lines that are commands, those that a backslash continues joined."""
    joined = re.sub(r"\\\n\s*", "", text)
    return [line.strip() for line in joined.splitlines() if line.strip().startswith(STARTS)]


def shown() -> dict[str, str]:
    """Every command that is shown, and where."""
    found: dict[str, str] = {}
    for document in DOCUMENTS:
        prose = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.M | re.S)
        inline = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]
        shown_here = [] if document == ROOT / EXTENDING else blocks(document)
        for command in [*(c for block in shown_here for c in commands_of(block)), *inline]:
            if command.startswith(STARTS):
                found.setdefault(command, str(document.relative_to(ROOT)))
    for config in CONFIGS:
        header = re.sub(r"^#", "", config.read_text(), flags=re.M)
        for line in re.sub(r"\\\n\s*", "", header).splitlines():
            for command in re.findall(r"python -m hypernoise_pl\S* .*?(?=$|;|, where| \()", line):
                found.setdefault(command.strip(), str(config.relative_to(ROOT)))
    for name, parser in command_parsers().items():
        for command in commands_of(parser.format_help()):
            found.setdefault(command, f"{name} --help")
    for source in SOURCES:
        for quoted in re.findall(r"`(python -m [^`]+)`|(pip install [^\s;)]+)|(hf auth login)", source.read_text()):
            found.setdefault(
                next(filter(None, quoted)).translate(str.maketrans("", "", "'\"")), str(source.relative_to(ROOT))
            )
    plain = {" ".join(re.sub(r"\s#.*", "", command).split()): where for command, where in reversed(found.items())}
    return {command: where for command, where in reversed(plain.items()) if "{" not in command}


SHOWN = shown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A working directory like a checkout, after one fit of each kind."""
    here = tmp_path_factory.mktemp("checkout")
    for name in ("conf", "experiments", "benchmarks"):
        (here / name).symlink_to(ROOT / name)
    for name in ("Makefile", "setup.cfg", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, here)
    shutil.copytree(ROOT / "hypernoise_pl" / "shapes" / "weights" / "generator", here / "runs" / "small" / "generator")
    bench = {"tag": "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a photo of a bench"}
    found = {"filename": "00000/samples/0000.png", "objects": [{"class": "bench", "score": 0.9, "box": [1, 2, 30, 40]}]}
    (here / "evaluation_metadata.jsonl").write_text(json.dumps(bench))
    (here / "detections.jsonl").write_text(json.dumps(found))
    (here / "images" / "00000" / "samples").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(here / "images" / found["filename"])
    mask2former.folder(here / "detector")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        assert main(["fit", *TINY, SAVES, "--output=runs/fit/first"]) == 0
        assert main(["fit", *TINY, "--model.adapter=GeneratorLora", "--output=runs/finetune"]) == 0
        predicted = ["--benchmark=shapes", "--data.test=2", "--adapter=runs/fit/first/adapter"]
        assert main(["predict", *predicted, "--output=runs/predict/first"]) == 0
    return here


@pytest.fixture(autouse=True)
def _there(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("WANDB_MODE", "offline")


def test_commands_are_found_where_they_are_shown():
    places = set(SHOWN.values())
    assert {
        "README.md",
        "experiments/search_scaling/README.md",
        "benchmarks/README.md",
        "conf/sana_sprint.yaml",
    } <= places
    assert {"compare --help", "hypernoise_pl/data/hub.py"} <= places
    assert sum(command.startswith("python -m hypernoise_pl ") for command in SHOWN) > 30


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_block_is_a_command_code_or_a_known_output(document):
    for block in blocks(document):
        first = block.strip().partition("\n")[0]
        known = first.startswith((*STARTS, "from hypernoise_pl import ", *OUTPUTS)) or (
            document == ROOT / EXTENDING and first.startswith("# my_")
        )
        assert known, f"{document}: {first!r}: enter it in OUTPUTS, or STARTS and run(), of tests/test_commands.py"


def run(command: str, tmp_path: Path, capsys, monkeypatch) -> None:
    for placeholder, stand_in in STAND_INS.items():
        command = command.replace(placeholder, stand_in)
    words = shlex.split(command, comments=True)
    if words[0] == "make":
        plan = subprocess.run([*words, "-n"], capture_output=True, text=True, check=True).stdout
        for line in re.findall(r"\.venv/bin/python ((?:-m hypernoise_pl|benchmarks/).*)", plan):
            run(f"python {line}", tmp_path, capsys, monkeypatch)
    elif words[:2] == ["pip", "install"]:
        package = words[-1]
        setup = ConfigParser()
        setup.read(ROOT / "setup.cfg")
        extra = re.fullmatch(r"hypernoise_pl\[(\w+)\]", package)
        assert package in ("datasets", "opencv-python-headless") or (
            extra and extra[1] in setup["options.extras_require"]
        )
    elif words[0] == "hf":
        from huggingface_hub.cli.hf import main as hub

        monkeypatch.setattr(sys, "argv", [*words, "--help"])
        with pytest.raises(SystemExit) as stop:
            hub()
        assert stop.value.code == 0
    elif words[0] == "tensorboard":
        assert words[1] == "--logdir" and list(Path(words[2]).rglob("events.out.tfevents.*")), command
    elif words[1].endswith(".py") or (words[1] == "-m" and words[2] != "hypernoise_pl"):
        script(words[1:], monkeypatch)
    else:
        assert words[:3] == ["python", "-m", "hypernoise_pl"], f"{command}: run() does not know it"
        ours(words[3:], tmp_path)


def script(words: list[str], monkeypatch) -> None:
    """A training script or benchmark: found, and its arguments parsed."""
    wanted = [word for word in words if word.startswith("--")]
    where = ROOT / words[0] if words[0] != "-m" else ROOT / Path(*words[1].split(".")).with_suffix(".py")
    assert where.is_file(), where
    for flag in wanted:
        assert f'"{flag.partition("=")[0]}"' in where.read_text() or flag == "--help", f"{where}: no {flag}"
    for name, value in itertools.pairwise(words):
        if name == "--config":
            assert (ROOT / value).is_file(), value
    monkeypatch.syspath_prepend(str(where.parent))
    if "argparse" in where.read_text():
        monkeypatch.setattr(sys, "argv", [str(where), "--help"])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(where), run_name="__main__")
        assert stop.value.code in (0, None)
    else:
        runpy.run_path(str(where))


def ours(words: list[str], tmp_path: Path) -> None:
    if not words:
        assert main([]) == 0
        return
    command, arguments = words[0], words[1:]
    assert command in COMMANDS or command.startswith("-"), command
    if command == "export":
        if "--push" in arguments:  # nothing is uploaded by a test
            arguments = arguments[: arguments.index("--push")]
        assert (
            main(["export", *arguments, *([] if "--output" in arguments else [f"--output={tmp_path / 'export'}"])]) == 0
        )
        return
    if command == "configs" or any(flag in arguments for flag in ("--help", "--help-class", "--help-all")):
        assert main(words) == 0
        return
    if command == "sweep":  # each is checked to its last value, and none of its fits is run
        arguments = [
            word.replace("my_sweep.yaml", "shapes_recipe") for word in arguments if word not in ("&", "--dry-run")
        ]
        if "--storage" in arguments:
            place = arguments.index("--storage")
            del arguments[place : place + 2]
        assert main([command, *arguments, "--dry-run"]) == 0
        return
    real = any(name in word for word in arguments for name in REAL)
    if real:
        cached = ["--model.prompt_cache=cache"] if command == "cache-prompts" else []
        assert main([command, *arguments, *cached, "--print_config"]) == 0
        return
    if "--output" in arguments and "--ckpt_path" not in arguments:
        place = arguments.index("--output")
        arguments = [*arguments[:place], "--output", str(tmp_path / "run"), *arguments[place + 2 :]]
    elif "--ckpt_path" not in arguments:
        arguments = [*arguments, "--output", str(tmp_path / "run")]
    if command == "compare":
        arguments = [*arguments, "--compare.prompts=6", "--compare.seeds=1", METHODS, "--compare.features=null"]
    elif command == "cache-prompts":
        arguments = [
            *arguments,
            f"--model.prompt_cache={tmp_path / 'cache'}",
            "--data.train=4",
            "--data.batch_size=2",
            *TINY[4:6],
        ]
    elif command == "score" and arguments[:2] == ["geneval", "images"]:  # with a tiny detector of the real class
        clip = ROOT / "hypernoise_pl" / "shapes" / "weights" / "clip"
        arguments = [*arguments, "--benchmark.detector.model=detector", f"--benchmark.colours.model={clip}"]
    elif command == "validate":  # the run of its adapter was without
        arguments = [*arguments, "--trainer.limit_val_batches=1"]
    elif command == "fit" and "--ckpt_path" in arguments:
        arguments = [*arguments, *TINY, SAVES, "--trainer.max_steps=2"]
    elif command == "fit":
        arguments = [*arguments, *TINY]
    assert main([command, *arguments]) == 0


@pytest.mark.filterwarnings("ignore:resuming at step")
@pytest.mark.parametrize("command", SHOWN, ids=lambda command: re.sub(r"\W+", "-", command)[:70])
def test_a_command_that_is_shown_works(command, tmp_path, capsys, monkeypatch):
    run(command, tmp_path, capsys, monkeypatch)


def test_what_a_run_prints_works_with_any_name_of_a_folder_and_any_prompt(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    prompt = """a's "b" & $C \\ *"""
    Path("my prompts").mkdir()
    Path("my prompts/mine.txt").write_text(f"{prompt}\na castle\n")
    flags = ["--data=TextPrompts", "--data.train=my prompts/mine.txt", "--judge=null", "--model.adapter.lora.rank=4"]
    tiny = [flag for flag in TINY if not flag.startswith(("--data.test", "--data.validation"))]
    assert main(["fit", *tiny, *flags, "--output=a run's $folder"]) == 0
    printed = dict(re.findall(r"^(\w+)\s+(.+)$", capsys.readouterr().out, re.M))
    words = shlex.split(printed["next"])
    echoed = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' {printed['next']}"], capture_output=True, text=True, check=True
    )
    assert echoed.stdout.splitlines() == words == ["python", "-m", "hypernoise_pl", *words[3:]]
    assert words[words.index("--prompt") + 1] == prompt
    assert main([*words[3:], "--output=seen"]) == 0
    rows = [json.loads(line) for line in Path("seen/predictions.jsonl").read_text().splitlines()]
    assert [row["prompt"] for row in rows] == [prompt] * 2
    if "TensorBoard" in printed:
        board = shlex.split(printed["TensorBoard"])
        assert board[:2] == ["tensorboard", "--logdir"]
        assert list(Path(board[2]).glob("events.out.tfevents.*"))


def test_code_that_is_shown_runs(tmp_path, pipeline_folder, monkeypatch):
    import warnings

    from diffusers import StableDiffusionPipeline

    from hypernoise_pl.adapters.files import save_adapter
    from hypernoise_pl.generators.stable_diffusion import SDTurbo
    from hypernoise_pl.hypernetwork import NoiseHypernetwork
    from hypernoise_pl.lora.view import LoraOptions
    from tests.tiny import randomise

    monkeypatch.chdir(tmp_path)
    (code,) = [block for block in blocks(ROOT / "README.md") if block.startswith("from hypernoise_pl import attach")]
    generator = SDTurbo(str(pipeline_folder("sd-turbo")))
    hypernetwork = NoiseHypernetwork(generator, LoraOptions(2, 4.0))
    randomise(hypernetwork)
    save_adapter(hypernetwork, Path("runs/fit/TIME/adapter"))
    import torch

    pipe = StableDiffusionPipeline.from_pretrained(pipeline_folder("sd-turbo"))
    names = {"pipe": pipe, "torch": torch}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this call is unlike the training, and attach says so
        exec(code, names)
    assert names["image"].size[0] > 0
