"""An example of every search method of the package."""

from dataclasses import replace
from typing import Any

import pytest

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
from tests.toy_generator import ToyGenerator

EXAMPLES: list[Search] = [
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


def example_name(value: Any) -> str | None:
    """Test id of a method: its class and the texts and switches among its options; None for another parameter."""
    if not isinstance(value, Search):
        return None
    options = [f"{key}={item}" for key, item in vars(value).items() if isinstance(item, (str, bool)) and item]
    return "-".join([type(value).__name__, *options])


every_method = pytest.mark.parametrize("search", EXAMPLES, ids=example_name)


def least_steps(search: Search) -> int:
    """The smallest number of steps that a method's own check takes."""
    for steps in range(1, 10):
        try:
            search.check(ToyGenerator(), steps)
        except ValueError:
            continue
        return steps
    raise AssertionError(f"{search} takes no number of steps below 10")


def with_endpoint(search: Search, url: str) -> Search:
    """The method, with a language model at this address if it asks one."""
    if not isinstance(search, PromptOptimisation):
        return search
    return replace(search, endpoint=ChatEndpoint("m", url, None, retries=0, timeout_seconds=20))
