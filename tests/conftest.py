"""Tiny pipelines of the real classes and language models that rewrite prompts, shared by every test of a run."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hypernoise_pl.runs.run_folder import OUTPUT_VARIABLE
from tests import prompt_rewriter
from tests.chat_server import serving
from tests.families import FAMILIES


@pytest.fixture(scope="session")
def sana_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sana")
    FAMILIES["sana-sprint"].build(folder)
    return folder


@pytest.fixture(scope="session")
def pipeline_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a family's tiny pipeline, built when it is first asked for."""
    built: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in built:
            built[family] = tmp_path_factory.mktemp(family)
            FAMILIES[family].build(built[family])
        return built[family]

    return folder


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A working directory of the test's own, and no run folder left by another run of this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(OUTPUT_VARIABLE, raising=False)
    yield
    monkeypatch.delenv(OUTPUT_VARIABLE, raising=False)


@pytest.fixture(scope="module")
def lengthening_url() -> Iterator[str]:
    """The address of a language model that writes longer prompts."""
    with serving(prompt_rewriter.lengthen) as server:
        yield server.url


@pytest.fixture(scope="module")
def repeating_url() -> Iterator[str]:
    """The address of a language model that repeats the prompt, for generators that read nothing else."""
    with serving(prompt_rewriter.repeat) as server:
        yield server.url
