"""The promises of every prompt source and data module; the package itself says which there are."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import hypernoise_pl.data
import hypernoise_pl.shapes.prompts
from hypernoise_pl.data.base import PromptDataModule
from hypernoise_pl.data.compbench import CompBenchFolder
from hypernoise_pl.data.files import PromptFile
from hypernoise_pl.data.geneval import GenEvalFile
from hypernoise_pl.data.hub import HubDataset
from hypernoise_pl.data.sets import PromptSets
from hypernoise_pl.data.source import PromptSource
from hypernoise_pl.data.text import TextPrompts
from hypernoise_pl.shapes.prompts import ShapesPrompts
from hypernoise_pl.types import Prompt
from tests.members import concrete_classes, without_example

SPLITS = ("train", "validation", "test")
TEXTS = [f"{count} {colour} cats" for count in (2, 3, 4) for colour in ("red", "green", "blue")]
LINES = "".join(f"{text}\n" for text in TEXTS)
CLAUSES = [
    {"prompt": text, "tag": "counting", "include": [{"class": "cat", "count": int(text[0])}], "exclude": []}
    for text in TEXTS
]
TABLE = "prompt,tag,id\n" + "".join(f"{text},colors,{number}\n" for number, text in enumerate(TEXTS))
FILES = {
    "prompts.csv": TABLE,
    "test.txt": "a bench\na dog\n",
    "geneval.jsonl": "".join(json.dumps(row) + "\n" for row in CLAUSES),
    "compbench/color_train.txt": LINES,
    "compbench/shape_train.txt": LINES,
    "hub/train.csv": TABLE,
}


@dataclass(frozen=True)
class Example:
    """One prompt source or data module.

    Args:
        make: folder with ``FILES`` -> source, or folder and seed -> data module.
        file: file or folder in it that the example cannot do without; None if it reads no file.
        checked: whether ``check`` looks for the file; a data set of the hub is first looked for when it is read.
    """

    make: Callable[..., Any]
    file: str | None
    checked: bool = True


def hub_dataset(folder: Path) -> HubDataset:
    pytest.importorskip("datasets", reason="the package datasets is not installed")
    return HubDataset(str(folder / "hub"), tag="tag")


def text_prompts(folder: Path, seed: int = 0) -> TextPrompts:
    return TextPrompts(str(folder / "prompts.csv"), test=str(folder / "test.txt"), batch_size=4, seed=seed)


def prompt_sets(folder: Path, seed: int = 0) -> PromptSets:
    train, test = {"table": PromptFile("prompts.csv")}, {"test": PromptFile("test.txt")}
    return PromptSets(train, test, folder=str(folder), batch_size=4, seed=seed)


def shapes_prompts(folder: Path, seed: int = 0) -> ShapesPrompts:
    return ShapesPrompts(train=12, validation=6, test=6, batch_size=4, seed=seed)


SOURCES = {
    PromptFile: Example(lambda folder: PromptFile("prompts.csv"), "prompts.csv"),
    GenEvalFile: Example(lambda folder: GenEvalFile("geneval.jsonl"), "geneval.jsonl"),
    CompBenchFolder: Example(lambda folder: CompBenchFolder("compbench"), "compbench"),
    HubDataset: Example(hub_dataset, "hub", checked=False),
}
MODULES = {
    TextPrompts: Example(text_prompts, "test.txt"),
    PromptSets: Example(prompt_sets, "test.txt"),
    ShapesPrompts: Example(shapes_prompts, None),
}
READING_FILES = {cls: example for cls, example in MODULES.items() if example.file}


def parametrised(examples: dict[Any, Example]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("example", examples.values(), ids=[cls.__name__ for cls in examples])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def check_prompts(prompts: list[Prompt]) -> None:
    assert prompts and all(isinstance(prompt, Prompt) for prompt in prompts)
    assert len({prompt.index for prompt in prompts}) == len(prompts)
    for prompt in prompts:
        assert isinstance(prompt.text, str) and prompt.text.strip() == prompt.text != ""
        assert isinstance(prompt.tag, str) and prompt.tag.strip() == prompt.tag
        assert json.loads(json.dumps(prompt.metadata)) == prompt.metadata


@pytest.mark.parametrize(("base", "examples"), [(PromptSource, SOURCES), (PromptDataModule, MODULES)])
def test_every_member_of_the_package_has_an_example(base, examples):
    classes = concrete_classes(base, hypernoise_pl.data, hypernoise_pl.shapes.prompts)
    missing = without_example(classes, {*examples})
    assert not missing, f"{missing}: add an example to {Path(__file__).name}"


@parametrised(SOURCES)
def test_a_source_gives_each_prompt_its_own_index_a_text_tag_and_json_metadata(example, folder):
    source = example.make(folder)
    source.check(folder)
    prompts = source.read(folder)
    check_prompts(prompts)
    assert [prompt.index for prompt in prompts] == [*range(len(prompts))]
    assert {prompt.text for prompt in prompts} == {*TEXTS}


@parametrised(SOURCES)
def test_a_source_gives_the_same_prompts_in_the_same_order_twice(example, folder):
    source = example.make(folder)
    assert source.read(folder) == source.read(folder) == example.make(folder).read(folder)


@parametrised(SOURCES)
def test_a_source_names_a_missing_file_in_one_line(example, folder):
    source = example.make(folder)
    (folder / example.file).rename(folder / "elsewhere")
    with pytest.raises((OSError, ValueError), match=example.file) as error:
        source.read(folder)
    assert "\n" not in str(error.value)


@parametrised({cls: example for cls, example in SOURCES.items() if example.checked})
def test_the_check_of_a_source_raises_the_error_of_reading_it(example, folder):
    source, errors = example.make(folder), []
    (folder / example.file).rename(folder / "elsewhere")
    for method in (source.check, source.read):
        with pytest.raises(OSError, match=example.file) as error:
            method(folder)
        errors.append((type(error.value), str(error.value)))
    assert errors[0] == errors[1]


@parametrised(MODULES)
def test_a_data_module_has_three_splits_of_prompts_with_an_index_each(example, folder):
    data = example.make(folder)
    for split in SPLITS:
        check_prompts(data.prompts(split))
        assert data.prompts(split) == data.prompts(split) == example.make(folder).prompts(split)


@parametrised(MODULES)
def test_the_training_order_is_a_function_of_the_seed(example, folder):
    def order(seed: int) -> list[Prompt]:
        data = example.make(folder, seed)
        loader = data.train_dataloader()
        prompts = [prompt for _ in range(3) for batch in loader for prompt in batch]
        assert {prompt.index for prompt in prompts} <= {prompt.index for prompt in data.prompts("train")}
        return prompts

    assert order(0) == order(0) != order(1)


@parametrised(MODULES)
def test_validation_and_test_give_every_prompt_once_in_the_order_of_the_set(example, folder):
    data = example.make(folder, 1)
    for split, loader in (("validation", data.val_dataloader()), ("test", data.test_dataloader())):
        assert [prompt for batch in loader for prompt in batch] == data.prompts(split)


@parametrised(READING_FILES)
def test_a_data_module_names_a_missing_file_in_one_line_when_it_is_built(example, folder):
    (folder / example.file).unlink()
    with pytest.raises(FileNotFoundError, match=example.file) as error:
        example.make(folder)
    assert "\n" not in str(error.value)
