"""A run folder's identity: every option of every class is flipped once, and decides figures or is known not to."""

import copy
import dataclasses
import importlib
import inspect
import json
import pkgutil
import shutil
import types
import typing
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import hypernoise_pl
from hypernoise_pl.adapters.files import save_adapter
from hypernoise_pl.compare.config import Comparison, Method
from hypernoise_pl.compare.runner import ComparisonRunner
from hypernoise_pl.config.identity import described, first_difference
from hypernoise_pl.config.signatures import parameters
from hypernoise_pl.generators.base import Generator
from hypernoise_pl.generators.fused_lora import FusedLora
from hypernoise_pl.generators.loading import DecoderOptions
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.llm.account import Spending
from hypernoise_pl.llm.endpoint import ChatEndpoint
from hypernoise_pl.lora.view import LoraOptions
from hypernoise_pl.metrics.judge import Judge
from hypernoise_pl.report.results import Results
from hypernoise_pl.rewards.base import Verifier
from hypernoise_pl.rewards.clip import CLIPScore
from hypernoise_pl.rewards.features import ImageFeatures
from hypernoise_pl.rewards.latent.base import LatentVerifier
from hypernoise_pl.rewards.pixels import Brightness, JPEGSize, Redness
from hypernoise_pl.search.base import Search
from hypernoise_pl.search.random_search import RandomSearch
from hypernoise_pl.search.reno import ReNO
from hypernoise_pl.shapes.judge import ShapesJudge
from hypernoise_pl.types import Prompt
from tests.tiny import module, randomise, sana

FAMILIES = (Generator, Verifier, LatentVerifier, Judge, Search, ImageFeatures)
PARTS = (DecoderOptions, FusedLora, ChatEndpoint, Spending)  # options of the above that have options
WEIGHTS = Path(hypernoise_pl.__file__).parent / "shapes" / "weights"

# Memory, speed, and where copies are kept: all that changes no figure.
NEUTRAL = {
    "checkpoint": "recomputes activations",
    "local_only": "does not ask the hub",
    "cache": "keeps a grader's marks",
    "chunk": "bounds memory",
    "slicing": "decodes an image at a time",
    "key_variable": "holds a key",
    "timeout_seconds": "gives up waiting",
    "retries": "tries again",
    "concurrency": "asks at once",
    "spending": "bounds the cost",
}


def every_class() -> list[type]:
    """The concrete classes of all families, wherever in the package they are, and their options' classes."""
    for found in pkgutil.walk_packages(hypernoise_pl.__path__, "hypernoise_pl."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)

    def below(kind: type) -> list[type]:
        return [kind, *(deeper for derived in kind.__subclasses__() for deeper in below(derived))]

    kinds = dict.fromkeys(kind for family in FAMILIES for kind in below(family))
    ours = [k for k in kinds if k.__module__.startswith("hypernoise_pl.") and not inspect.isabstract(k)]
    return sorted([*ours, *PARTS], key=lambda kind: kind.__qualname__)


CLASSES = every_class()
OPTIONS = [(kind, name) for kind in CLASSES for name in parameters(kind) if not name.startswith("_")]


def value_of(hint: Any, number: int) -> Any:
    """The first or second value of a type."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return inner[number]
    if origin in (typing.Union, types.UnionType):
        return value_of(next(kind for kind in inner if kind is not type(None)), number)
    if origin in (list, tuple) or getattr(origin, "__name__", "") == "Sequence":
        return [value_of(inner[0], number)]
    if origin is not None and issubclass(origin, typing.Mapping):
        return {"a": value_of(inner[1], number)}
    if hint is bool:
        return bool(number)
    if hint in (int, float):
        return hint(number + 1)
    if hint is str:
        return f"a/{number}"
    if hint is ImageFeatures or (inspect.isclass(hint) and issubclass(hint, nn.Module)):
        return built(next(kind for kind in CLASSES if issubclass(kind, ImageFeatures)), number)
    if dataclasses.is_dataclass(hint):
        return built(hint, number)
    if hint in (Any, None):
        return f"a/{number}"
    return type(hint.__name__, (), {})() if number else None


def built(kind: type, number: int = 0, **given: Any) -> Any:
    """An object with its arguments and without its models, which are not on this machine."""
    named = {name: value_of(hint, number) for name, hint in parameters(kind).items()} | given
    if dataclasses.is_dataclass(kind):
        made = object.__new__(kind)
        for name, value in named.items():
            object.__setattr__(made, name, value)
        return made
    made = kind.__new__(kind, **named)
    if isinstance(made, nn.Module):
        nn.Module.__init__(made)
    return made


def test_every_class_of_a_family_is_found():
    names = {kind.__name__ for kind in CLASSES}
    assert {"SanaSprint", "Flux", "SiT", "CLIPScore", "HPSv3", "GreedyFID", "DistilledVerifier", "ShapesJudge"} <= names
    assert {"ReNO", "Steering", "NoSearch", "VisionFeatures", "VisionLanguageGrader"} <= names
    assert len(OPTIONS) > 120


@pytest.mark.parametrize(("kind", "name"), OPTIONS, ids=[f"{kind.__name__}.{name}" for kind, name in OPTIONS])
def test_an_option_decides_the_identity_unless_it_decides_no_figure(kind, name):
    flipped = built(kind, **{name: value_of(parameters(kind)[name], 1)})
    found = first_difference(json.loads(json.dumps(described(built(kind)))), described(flipped), "part")
    if name in NEUTRAL:
        assert found is None
    else:
        assert found is not None and found.startswith(f"part.{name}"), found


def test_what_changes_no_figure_is_known_here():
    for kind in CLASSES:
        own = set(parameters(kind)) & set(getattr(kind, "neutral", ()))
        assert own == set(parameters(kind)) & set(NEUTRAL), kind


def test_two_classes_with_the_same_options_differ():
    assert first_difference(described(Redness()), described(Brightness()), "reward") == (
        "reward.class=hypernoise_pl.rewards.pixels.Redness, this run has hypernoise_pl.rewards.pixels.Brightness"
    )


def test_a_default_is_the_same_left_out_or_given():
    assert described(JPEGSize()) == described(JPEGSize(95)) == described(JPEGSize(quality=95, incompressible=False))
    assert described(ReNO()) == described(ReNO(lr=5.0)) != described(ReNO(lr=2.0))


def test_contents_decide_and_not_the_name_of_the_folder(sana_folder, tmp_path):
    same, other = (shutil.copytree(sana_folder, tmp_path / name) for name in ("same", "other"))
    before = described(sana(sana_folder))
    assert first_difference(before, described(sana(same))) is None
    (other / "README.md").write_text("read by people")
    assert first_difference(before, described(sana(other))) is None
    (other / "tokenizer" / "more.json").write_text("{}")
    assert first_difference(before, described(sana(other)), "generator").startswith("generator.model.contents=")


def test_weights_in_memory_decide_whatever_made_them(sana_folder):
    before, changed = described(sana(sana_folder)), sana(sana_folder)
    with torch.no_grad():
        next(reversed([*changed.network.parameters()])).flatten()[-1] += 1e-3  # one number of the last tensor
    assert first_difference(before, described(changed), "generator").startswith("generator.loaded_weights.network=")
    assert first_difference(before, described(sana(sana_folder).bfloat16()), "generator").startswith(
        "generator.loaded_weights."
    )
    away = sana(sana_folder)
    away.offload_text_encoders()  # for prompts that were encoded beforehand
    assert first_difference(before, described(away)) is None


def test_an_option_set_after_construction_decides(sana_folder):
    generator = sana(sana_folder)
    before = described(generator)
    assert generator.guidance_scale == 4.5
    generator.guidance_scale = 40.0
    assert first_difference(before, described(generator), "generator").startswith(
        "generator.guidance_scale=4.5, this run has 40"
    )


def test_a_rewards_file_changed_under_the_same_path_decides(tmp_path):
    folder = shutil.copytree(WEIGHTS / "clip", tmp_path / "clip")
    before = described(CLIPScore(str(folder)))
    assert described(CLIPScore(str(WEIGHTS / "clip"))) == before
    file = folder / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1  # one bit of one weight
    file.write_bytes(data)
    assert first_difference(before, described(CLIPScore(str(folder))), "reward").startswith("reward.loaded_weights.")


def test_a_folder_that_no_module_has_loaded_is_read_whole(tmp_path):
    (tmp_path / "detector").mkdir()
    file = tmp_path / "detector" / "model.safetensors"
    file.write_bytes(b"a")

    class Detecting(Judge):
        def __init__(self, model: str) -> None:
            self._model = model

        def _judge(self, images, prompts): ...

    before = described(Detecting(str(tmp_path / "detector")))
    file.write_bytes(b"b")
    assert first_difference(before, described(Detecting(str(tmp_path / "detector"))), "judge").startswith(
        "judge.model.contents="
    )


def test_a_copy_is_the_same(sana_folder):
    generator = sana(sana_folder)
    assert described(copy.deepcopy(generator)) == described(generator)


def test_differences_are_named():
    old = {"seeds": 4, "methods": {"a": {"class": "x", "lr": 1}}, "prompts": [1, 2]}
    assert first_difference(old, old) is None
    assert first_difference(old, {**old, "seeds": 2}) == "seeds=4, this run has 2"
    assert (
        first_difference(old, {**old, "methods": {"a": {"class": "y", "lr": 2}}}) == "methods.a.class=x, this run has y"
    )
    more = {**old, "methods": {**old["methods"], "b": {"class": "z"}}}
    assert first_difference(old, more) == "methods.b=nothing, this run has z"
    assert first_difference(more, old) == "methods.b=z, this run has nothing"
    assert first_difference(old, {**old, "prompts": [1, 3]}) == "prompts[1]=2, this run has 3"
    assert first_difference(old, {**old, "prompts": [1]}) == "prompts=[1, 2], this run has [1]"
    assert first_difference(described(float("nan")), described(float("nan"))) is None


# what a comparison adds to its parts

METHOD = Method("tried", RandomSearch(4), [4])
OTHER_METHODS = {
    "name": "other",
    "search": RandomSearch(5),
    "budgets": [4, 8],
    "start": "hypernetwork",
    "adapter": None,  # which folder it lies in; its contents have a test of their own
    "verifier": "bright",
    "steps": 2,
}
OTHER = {
    "methods": [Method("none")],
    "verifiers": {"size": JPEGSize()},
    "seeds": 2,
    "unit_size": 60,
    "budget_seconds": 1.0,
    "base": "tried",
    "features": None,
    "prompts": None,  # how many are chosen; the chosen ones decide
    "batch_size": None,  # bounds memory
}


@pytest.fixture
def adapter(sana_folder, tmp_path) -> Path:
    generator = sana(sana_folder)
    hypernetwork = NoiseHypernetwork(generator, LoraOptions(2))
    randomise(hypernetwork)
    return save_adapter(hypernetwork, tmp_path / "adapter")


def identity(sana_folder, tmp_path, adapter=None, chosen=None, judge=None, change=None, **options) -> dict[str, Any]:
    """Of a comparison made in Python, as one without a command line has it."""
    model = module(sana_folder)
    if change is not None:
        change(model)
    settings = {"methods": [Method("none"), METHOD], "seeds": 1, **options}
    chosen = [Prompt("a ring", "x", {"include": [1]}, index=0)] if chosen is None else chosen
    comparing = ComparisonRunner(
        Comparison(**settings), model, judge or ShapesJudge(), chosen, adapter, Results(tmp_path)
    )
    return comparing.identity()


@pytest.fixture
def before(sana_folder, tmp_path, adapter) -> dict[str, Any]:
    return json.loads(json.dumps(identity(sana_folder, tmp_path, adapter)))


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Comparison)])
def test_every_setting_of_a_comparison_decides(name, before, sana_folder, tmp_path, adapter):
    value = OTHER[name]
    if name == "features":
        kind = next(kind for kind in CLASSES if issubclass(kind, ImageFeatures))
        value = kind(str(WEIGHTS / "clip"))
    if value is None:
        options = {"prompts": {"prompts": 1}, "batch_size": {"batch_size": 3}}[name]
        assert first_difference(before, identity(sana_folder, tmp_path, adapter, **options)) is None
        return
    found = first_difference(before, identity(sana_folder, tmp_path, adapter, **{name: value}))
    assert found is not None and found.startswith(name)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Method)])
def test_every_setting_of_a_method_decides(name, before, sana_folder, tmp_path, adapter):
    changed = dataclasses.replace(METHOD, **{name: OTHER_METHODS[name]})
    found = first_difference(before, identity(sana_folder, tmp_path, adapter, methods=[Method("none"), changed]))
    if name == "adapter":
        assert found is None
    else:
        assert found.startswith("methods.tried" if name != "name" else "methods.tried=")


def test_an_adapters_contents_decide_and_not_its_folder(sana_folder, tmp_path, adapter):
    methods = [Method("none"), Method("net", start="hypernetwork")]
    before = identity(sana_folder, tmp_path, adapter, methods=methods)
    moved = shutil.copytree(adapter, tmp_path / "moved")
    assert first_difference(before, identity(sana_folder, tmp_path, moved, methods=methods)) is None
    about = json.loads((moved / "hypernoise.json").read_text())
    (moved / "hypernoise.json").write_text(json.dumps(about | {"alpha": 2 * about["alpha"]}))
    found = first_difference(before, identity(sana_folder, tmp_path, moved, methods=methods))
    assert found.startswith("methods.net.adapter=")


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda model: setattr(model, "seed", 1), "seed=0, this run has 1"),
        (lambda model: model.ensemble.weights.update(red=2.0), "reward_weights.red=0.5, this run has 2.0"),
        (lambda model: model.ensemble.members.update({"bright": Redness()}), "rewards.bright.class="),
        (lambda model: model.generator.network.half(), "generator.loaded_weights.network="),
    ],
)
def test_what_a_model_is_made_of_decides(change, where, before, sana_folder, tmp_path, adapter):
    found = first_difference(before, identity(sana_folder, tmp_path, adapter, change=change))
    assert found is not None and found.startswith(where)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Prompt)])
def test_every_part_of_a_prompt_decides(field, before, sana_folder, tmp_path, adapter):
    other = {"text": "a star", "tag": "y", "metadata": {"include": [2]}, "index": 7}[field]
    prompts = [dataclasses.replace(Prompt("a ring", "x", {"include": [1]}, index=0), **{field: other})]
    found = first_difference(before, identity(sana_folder, tmp_path, adapter, chosen=prompts))
    assert found is not None and found.startswith(f"prompts.{field}=")


def test_the_judge_decides(before, sana_folder, tmp_path, adapter):
    class Lenient(ShapesJudge):
        pass

    found = first_difference(before, identity(sana_folder, tmp_path, adapter, judge=Lenient()))
    assert found is not None and found.startswith("judge.class=")


def test_the_version_of_the_package_decides(before, sana_folder, tmp_path, adapter, monkeypatch):
    monkeypatch.setattr("hypernoise_pl.compare.runner.__version__", "99.0")
    found = first_difference(before, identity(sana_folder, tmp_path, adapter))
    assert found == f"version={hypernoise_pl.__version__}, this run has 99.0"


def test_the_device_decides_only_how_much_a_budget_of_seconds_holds(sana_folder, tmp_path, adapter, monkeypatch):
    without, timed = (identity(sana_folder, tmp_path, adapter, budget_seconds=s) for s in (None, 1.0))
    monkeypatch.setattr(ComparisonRunner, "device", "another")
    assert first_difference(without, identity(sana_folder, tmp_path, adapter)) is None
    found = first_difference(timed, identity(sana_folder, tmp_path, adapter, budget_seconds=1.0))
    assert found == "device=cpu, this run has another"
