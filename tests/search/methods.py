"""An example of every search method of the package, and of every verifier on latents."""

import importlib
import inspect
import json
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

import hypernoise_pl.search
from hypernoise_pl.llm.endpoint import ChatEndpoint
from hypernoise_pl.search.base import Search
from hypernoise_pl.search.dno import DNO
from hypernoise_pl.search.evolution import Evolution
from hypernoise_pl.search.none import NoSearch
from hypernoise_pl.search.paths import SearchOverPaths
from hypernoise_pl.search.prompt_optimisation import PromptOptimisation
from hypernoise_pl.search.random_search import RandomSearch
from hypernoise_pl.search.reno import ReNO
from hypernoise_pl.search.steering import Steering
from hypernoise_pl.search.zero_order import ZeroOrder
from tests.chat_server import Reply, serving

EXAMPLES = [
    NoSearch(),
    RandomSearch(5),
    ZeroOrder(3, 2),
    Evolution(2, 3),
    ReNO(4, lr=1.0),
    ReNO(4, lr=1.0, white=True),
    DNO(4),
    SearchOverPaths(2, 3),
    Steering(4),
    Steering(3, potential="difference"),
    Steering(3, potential="sum"),
    PromptOptimisation(rounds=2, rewrites=2),
]


def name_of(search: Search) -> str:
    changed = [f"{key}={value}" for key, value in vars(search).items() if isinstance(value, (str, bool)) and value]
    return "-".join([type(search).__name__, *changed])


every_method = pytest.mark.parametrize("search", EXAMPLES, ids=name_of)


def least_steps(search: Search) -> int:
    """The smallest number of steps that a method's own check takes."""
    from tests.search.toy import EightGaussians

    for steps in range(1, 10):
        try:
            search.check(EightGaussians(), steps)
        except ValueError:
            continue
        return steps
    raise AssertionError(f"{search} takes no number of steps below 10")


def methods_of_the_package() -> set[type[Search]]:
    """The classes in ``hypernoise_pl.search`` that are search methods."""
    found = set()
    for part in pkgutil.walk_packages(hypernoise_pl.search.__path__, "hypernoise_pl.search."):
        module = importlib.import_module(part.name)
        classes = [kind for _, kind in inspect.getmembers(module, inspect.isclass) if issubclass(kind, Search)]
        found |= {kind for kind in classes if not inspect.isabstract(kind)}
    return found


def told(body: dict[str, Any]) -> tuple[str, list[tuple[float, str]], int]:
    """What a request tells the model: the prompt, readings with scores, and how many it wants."""
    lines = body["messages"][1]["content"].split("\n")
    tried = [(float(s), json.loads(t)) for s, t in (line.split("  ", 1) for line in lines[2:-1])]
    return json.loads(lines[0].partition(": ")[2]), tried, int(re.findall(r"\d+", lines[-1])[0])


def names_of(body: dict[str, Any]) -> list[str]:
    """The rewrites that a request asks for, by name."""
    names: list[str] = body["response_format"]["json_schema"]["schema"]["required"]
    return names


def longer(body: dict[str, Any]) -> Reply:
    """The best reading so far, longer by 1, 2, ... letters."""
    _, tried, count = told(body)
    names = names_of(body)
    assert len(names) == count
    return Reply(json.dumps({name: tried[0][1] + "x" * (place + 1) for place, name in enumerate(names)}))


def same(body: dict[str, Any]) -> Reply:
    """The prompt itself, for generators that read nothing else."""
    prompt, _, _ = told(body)
    return Reply(json.dumps({name: prompt for name in names_of(body)}))


def ready(search: Search, url: str) -> Search:
    """The method with whatever it needs to run."""
    if not isinstance(search, PromptOptimisation):
        return search
    return replace(search, endpoint=ChatEndpoint("m", url, None, retries=0, timeout_seconds=20))


@pytest.fixture(scope="module")
def rewriter() -> Iterator[str]:
    """The address of a language model that writes longer prompts."""
    with serving(longer) as server:
        yield server.url


@pytest.fixture(scope="module")
def echo() -> Iterator[str]:
    """The address of a language model that repeats the prompt."""
    with serving(same) as server:
        yield server.url
