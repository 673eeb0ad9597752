"""Every reader of files and folders, with every kind of wrong one: a one-line error that names it and the remedy."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from hypernoise_pl.adapters.files import load_adapter, save_adapter
from hypernoise_pl.adapters.formats import export_reference, load_reference
from hypernoise_pl.attachment.attach import attach
from hypernoise_pl.checkpoints.conversion import read_checkpoint as read_weights
from hypernoise_pl.checkpoints.loading import load_tensors
from hypernoise_pl.cli.command_config import merge_command
from hypernoise_pl.cli.export import export
from hypernoise_pl.config.files import PACKAGE
from hypernoise_pl.config.options import Options
from hypernoise_pl.data.compbench import CompBenchFolder
from hypernoise_pl.data.geneval import GenEvalFile
from hypernoise_pl.generators.conditioning_store import ConditioningStore
from hypernoise_pl.generators.sana_sprint import SanaSprint
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.view import LoraOptions
from hypernoise_pl.report.results import Results
from hypernoise_pl.rewards.clip import CLIPScore
from hypernoise_pl.rewards.image_reward import ImageReward
from hypernoise_pl.rewards.latent.distilled import load_scorer
from hypernoise_pl.runs.predictions import Predictions
from hypernoise_pl.system.files import write_tensors
from hypernoise_pl.training.checkpoint_io import checkpoint_to_resume, read_checkpoint
from hypernoise_pl.types import Conditioning
from tests.families import FAMILIES
from tests.report.handmade import COMPARISON
from tests.system.test_run_folder import train
from tests.tiny import randomise, sana

WEIGHTS = PACKAGE / "shapes" / "weights"
WRONG = ("missing", "folder", "empty", "truncated", "binary", "another tool's")


@dataclass(frozen=True)
class Place:
    """A place that reads a file.

    Args:
        make: folder -> the right file in it.
        read: the right or wrong file -> what it is read for.
        fine: kinds of wrong file that are right here: a text file is plain YAML, and so on.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    fine: tuple[str, ...] = ()


def copied(name: str, file: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        shutil.copytree(WEIGHTS / name, folder / name)
        return folder / name / file

    return make


def text(name: str, content: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_text(content)
        return folder / name

    return make


def adapter(file: str, save: Any = save_adapter) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        generator = sana(TINY[0])
        hypernetwork = NoiseHypernetwork(generator, LoraOptions(2, 4.0))
        randomise(hypernetwork)
        save(hypernetwork, folder / "adapter")
        return folder / "adapter" / file

    return make


def checkpoint(folder: Path) -> Path:
    train(folder / "run", 1)
    return folder / "run" / "checkpoints" / "last.ckpt"


def tensors(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        if name.endswith(".safetensors"):
            write_tensors(folder / name, {"weight": torch.ones(64)})
        else:
            torch.save({"weight": torch.ones(64)}, folder / name)
        return folder / name

    return make


def shard(folder: Path) -> Path:
    ConditioningStore(folder / "cache").write(["a ring"], Conditioning(torch.ones(1, 2, 3)))
    (file,) = (folder / "cache").iterdir()
    return file


def part(folder: Path) -> Path:
    results = Results(folder / "run")
    results.begin({"seeds": 1}, lambda found, now: None)
    results.add("none", 0, COMPARISON["none"], torch.zeros(len(COMPARISON["none"]), 3, 4, 4))
    return folder / "run" / "parts" / "none@00000.parquet"


def comparison(folder: Path) -> Path:
    return part(folder).parents[1] / "comparison.json"


def speed(folder: Path) -> Path:
    Results(folder).speed("random", lambda: 0.5)
    return folder / "speed-random.json"


def begun(folder: Path) -> Path:
    Predictions(folder / "seen", {"seeds": [0]})
    return folder / "seen" / "settings.json"


def fitted(file: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        adapter("hypernoise.json")(folder)
        (folder / "config.yaml").write_text("model: {}\n")
        (folder / "summary.json").write_text("{}\n")
        return folder / file

    return make


def refused_never(*arguments: Any) -> None:
    return None


TINY: list[Path] = []  # folder of a tiny generator, filled by a fixture
GENEVAL = json.dumps({"prompt": "a cat", "tag": "colors", "include": [{"class": "cat", "count": 1}]})
PLACES = {
    "config": Place(
        text("a.yaml", "trainer: {max_steps: 3}\n# a second line\n"),
        lambda f: merge_command("fit", Options(config=[str(f)]), []).config,
        fine=("truncated",),
    ),
    "GenEval": Place(text("g.jsonl", GENEVAL), lambda f: GenEvalFile(f.name).read(f.parent)),
    "checkpoint to continue": Place(checkpoint, read_checkpoint),
    "checkpoint to begin with": Place(checkpoint, lambda f: checkpoint_to_resume(str(f), Path("new"))),
    "reward weights": Place(tensors("w.safetensors"), lambda f: read_weights(f, "reward")),
    "reward checkpoint": Place(tensors("w.pt"), lambda f: read_weights(f, "reward")),
    "tensors": Place(tensors("w.safetensors"), lambda f: load_tensors(f, "reward")),
    "prompt cache": Place(shard, lambda f: ConditioningStore(f.parent).texts(), fine=("missing",)),
    "rows of a comparison": Place(part, lambda f: Results(f.parents[1]).rows(["none"]), fine=("missing",)),
    "identity of a comparison": Place(
        comparison, lambda f: Results(f.parent).begin({"seeds": 1}, refused_never), fine=("missing", "another tool's")
    ),
    "speed of a search": Place(speed, lambda f: Results(f.parent).speed("random", lambda: 0.5), fine=("missing",)),
    "settings of predictions": Place(begun, lambda f: Predictions(f.parent, {"seeds": [0]}), fine=("missing",)),
    "config of a fit": Place(fitted("config.yaml"), lambda f: export(f.parent / "adapter", None, None, "own")),
    "summary of a fit": Place(
        fitted("summary.json"), lambda f: export(f.parent / "adapter", None, None, "own"), fine=("missing",)
    ),
    "latent verifier": Place(copied("latent", "config.json"), lambda f: load_scorer(f.parent)),
    "latent verifier's weights": Place(copied("latent", "model.safetensors"), lambda f: load_scorer(f.parent)),
    "CLIP": Place(copied("clip", "config.json"), lambda f: CLIPScore(str(f.parent))),
    "CLIP's weights": Place(copied("clip", "model.safetensors"), lambda f: CLIPScore(str(f.parent))),
    "ImageReward": Place(copied("image_reward", "config.json"), lambda f: ImageReward(str(f.parent))),
    "ImageReward's weights": Place(copied("image_reward", "model.safetensors"), lambda f: ImageReward(str(f.parent))),
}
for name in ("hypernoise.json", "adapter_config.json", "adapter_model.safetensors"):
    fine = ("empty", "truncated", "binary", "another tool's") if name == "adapter_config.json" else ()  # not read
    PLACES[f"adapter, {name}"] = Place(adapter(name), lambda f: load_adapter(f.parent, sana(TINY[0])), fine)
    if name != "hypernoise.json":
        PLACES[f"reference's adapter, {name}"] = Place(
            adapter(name, export_reference), lambda f: load_reference(f.parent, sana(TINY[0]))
        )
CASES = [(name, wrong) for name, place in PLACES.items() for wrong in WRONG if wrong not in place.fine]


@pytest.fixture(autouse=True)
def _tiny(sana_folder, tmp_path, monkeypatch):
    TINY[:] = [sana_folder]
    monkeypatch.chdir(tmp_path)


def spoil(file: Path, wrong: str) -> None:
    data = file.read_bytes()
    file.unlink()
    if wrong == "folder":
        file.mkdir()
    elif wrong != "missing":
        content = {
            "empty": b"",
            "truncated": data[: 2 * len(data) // 3],
            "binary": b"\x89PNG\r\n\x1a\n\x00\x01\xff\xfe" * 9,
            "another tool's": json.dumps({"made_by": {"tool": 1}}).encode(),
        }
        file.write_bytes(content[wrong])


def listing(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() if f.is_file() else b"" for f in sorted(folder.rglob("*"))}


@pytest.mark.parametrize(("name", "wrong"), CASES)
def test_wrong_file_gives_a_one_line_error_that_names_it(tmp_path, name, wrong):
    place = PLACES[name]
    file = place.make(tmp_path)
    if "fit" not in name:  # another test covers fit's valid files
        place.read(file)
    spoil(file, wrong)
    before = listing(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError, NotADirectoryError)) as error:
        place.read(file)
    said = str(error.value)
    assert "\n" not in said and (file.name in said or str(file.parent) in said), said
    assert listing(tmp_path) == before  # nothing was written


FOLDERS: dict[str, Callable[[Path], Any]] = {
    "adapter": lambda f: load_adapter(f, sana(TINY[0])),
    "attached adapter": lambda f: attach(FAMILIES["sana-sprint"].pipe(TINY[0]), f),
    "reference's adapter": lambda f: load_reference(f, sana(TINY[0])),
    "generator": lambda f: SanaSprint(str(f)),
    "CLIP": lambda f: CLIPScore(str(f)),
    "ImageReward": lambda f: ImageReward(str(f)),
    "latent verifier": load_scorer,
    "T2I-CompBench": lambda f: CompBenchFolder(f.name).read(f.parent),
    "fit": lambda f: export(adapter("hypernoise.json")(f.parent).parent, f, None, "own"),
    "prompt cache": lambda f: ConditioningStore(f).texts(),
}


@pytest.mark.parametrize("wrong", ["missing", "file", "empty folder"])
@pytest.mark.parametrize("name", [name for name in FOLDERS if name != "prompt cache"])
def test_wrong_folder_gives_a_one_line_error_that_names_it(tmp_path, name, wrong):
    folder = tmp_path / "given"
    if wrong == "file":
        folder.write_text("a file")
    elif wrong == "empty folder":
        folder.mkdir()
    with pytest.raises((ValueError, FileNotFoundError, NotADirectoryError)) as error:
        FOLDERS[name](folder)
    said = str(error.value)
    assert "\n" not in said and str(folder) in said, said
    assert ("a file" in said) == (wrong == "file"), said


def test_file_as_prompt_cache_folder_is_named(tmp_path):
    (tmp_path / "given").write_text("a file")
    with pytest.raises(NotADirectoryError, match="given: a file; give a folder"):
        FOLDERS["prompt cache"](tmp_path / "given")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("layout", ["own", "reference"])
def test_adapter_with_a_non_finite_weight_is_refused_and_the_tensor_named(tmp_path, layout, value):
    from safetensors.torch import load_file

    file = adapter("adapter_model.safetensors", save_adapter if layout == "own" else export_reference)(tmp_path)
    found = load_file(file)
    name = sorted(found)[3]
    found[name].view(-1)[1] = value
    write_tensors(file, found)
    for read in (FOLDERS["adapter" if layout == "own" else "reference's adapter"], FOLDERS["attached adapter"]):
        with pytest.raises(
            ValueError, match=rf"adapter .*{name.removeprefix('base_model.model.')} .*not finite"
        ) as error:
            read(file.parent)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fit", "--config=folder"], "config folder: a folder"),
        (["fit", "--output=file.txt"], "--output file.txt: a file; give a folder"),
        (["predict", "--prompt=x", "--output=file.txt"], "--output file.txt: a file; give a folder"),
        (["predict", "--prompts=folder"], "prompt file folder: a folder"),
        (["predict", "--prompt=x", "--adapter=file.txt"], "adapter file.txt: a file; give the folder that fit wrote"),
        (["test", "--adapter=folder"], "adapter folder: no hypernoise.json in that folder"),
        (["test", "--adapter=nowhere"], "adapter nowhere: no such folder"),
        (["compare", "--adapter=file.txt"], "adapter file.txt: a file"),
        (["export", "--adapter=file.txt"], "adapter file.txt: a file"),
        (["export", "--adapter=folder"], "adapter folder: no hypernoise.json in that folder"),
        (["fit", "--model.prompt_cache=file.txt"], "prompt cache file.txt: a file; give a folder"),
        (["cache-prompts", "--model.prompt_cache=file.txt"], "prompt cache file.txt: a file; give a folder"),
    ],
)
def test_command_with_a_wrong_file_exits_with_2_and_writes_nothing(tmp_path, capsys, arguments, said):
    from hypernoise_pl.__main__ import main

    Path("folder").mkdir()
    Path("file.txt").write_text("a file")
    before = listing(tmp_path)
    assert main(arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert line.startswith(f"hypernoise_pl {arguments[0]}: error: ") and said in line
    assert listing(tmp_path) == before
