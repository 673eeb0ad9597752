"""What is compared: methods with their budgets, on which prompts and noises; as a configuration says it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.rewards.base import Verifier
from hypernoise_pl.rewards.features import ImageFeatures
from hypernoise_pl.rewards.latent.base import LatentVerifier
from hypernoise_pl.search.base import Search
from hypernoise_pl.search.none import NoSearch
from hypernoise_pl.types import nearest


@dataclass(frozen=True)
class Method:
    """One line of the comparison.

    Args:
        name: of the method; with several budgets each has its own row.
        search: what is done at test time; NoSearch for a generator or hypernetwork alone.
        budgets: network evaluations per image; each makes the search as long as it allows. Left out: the search's own.
        start: ``gaussian`` noise, or what was trained, the ``hypernetwork``: noise refined by it (one evaluation a
            draw), or, where the adapter is one of direct fine-tuning, the fine-tuned generator.
        adapter: folder of what was trained; that of the comparison if left out.
        verifier: what the search maximises: ``weighted`` (the ensemble), ``ensemble_rank`` (mean rank over its
            members: the rewards whose weight is not 0, the lowest first where it is below), the name of a reward or of
            one of the comparison's verifiers, or ``judge``, the oracle.
        steps: network evaluations per image of the generator.
    """

    name: str
    search: Search = NoSearch()
    budgets: list[int] | None = None
    start: Literal["gaussian", "hypernetwork"] = "gaussian"
    adapter: str | None = None
    verifier: str = "weighted"
    steps: int = 1


@dataclass(frozen=True)
class Comparison:
    """What is compared, and on what.

    Args:
        methods: in the order of the table; names are unique.
        verifiers: name -> what methods may search by, beside the rewards.
        prompts: how many of the test prompts, all tags in equal shares; None for all.
        seeds: noises per prompt, the same for every method.
        block: images searched together; a unit of work that is done or not done.
        chunk: images generated at once; bounds memory.
        budget_seconds: seconds per image that every search may take instead of its budgets: its speed is measured
            first and kept in the run folder.
        base: method that the others are measured against.
        features: what tells how far a method's images are from the base's (KID); None to leave it out.

    Raises:
        ConfigError: if a name stands twice, cannot name a file or is unknown, or a number is below 1.
    """

    methods: list[Method]
    verifiers: dict[str, Verifier | LatentVerifier] = field(default_factory=dict)
    prompts: int | None = None
    seeds: int = 4
    block: int = 120
    chunk: int = 256
    budget_seconds: float | None = None
    base: str = "none"
    features: ImageFeatures | None = None

    def __post_init__(self) -> None:
        if self.verifiers is None:
            raise ConfigError("compare.verifiers: null; write {} for none")
        names = [method.name for method in self.methods]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"compare.methods: {name!r} stands there twice; give each a name of its own")
            if not name.strip(".") or not all(letter.isalnum() or letter in "-_." for letter in name):
                raise ConfigError(f"compare.methods: {name!r} cannot name files; use letters, digits, - _ and .")
        for method in self.methods:
            if method.adapter is not None and method.start == "gaussian":
                raise ConfigError(
                    f"method {method.name!r}: has an adapter, and starts from gaussian noise, which uses none; give it "
                    "start: hypernetwork"
                )
            for budget in method.budgets or []:
                if (method.budgets or []).count(budget) > 1:
                    raise ConfigError(f"method {method.name!r}: budget {budget} stands there twice")
        if self.base not in names:
            raise ConfigError(f"compare.base: no method is called {self.base!r}{nearest(self.base, names)}")
        for key in ("prompts", "seeds", "block", "chunk"):
            number = getattr(self, key)
            if number is not None and number < 1:
                raise ConfigError(f"compare.{key}: must be at least 1, got {number}")
        if self.budget_seconds is not None and not 0 < self.budget_seconds < math.inf:
            raise ConfigError(f"compare.budget_seconds: must be above 0, got {self.budget_seconds}")


@dataclass(frozen=True)
class Cell:
    """A method at one of its budgets: a row of the table.

    Args:
        label: the row's name.
        method: of the comparison.
        search: its search, sized to the budget.
        asked: the budget that was asked for; the search's own where none was.
        budget: network evaluations that the sized search takes.
    """

    label: str
    method: Method
    search: Search
    asked: int
    budget: int


def shard_of(text: str | None, environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Which shard of how many: from ``1/4``, else from what torchrun tells its processes, else all.

    Raises:
        ConfigError: if it is not of that form.
    """
    if text is None:
        return int(environment.get("RANK", 0)), int(environment.get("WORLD_SIZE", 1))
    number, _, count = text.partition("/")
    if not (number.isdigit() and count.isdigit() and int(number) < int(count)):
        raise ConfigError(f"--shard {text}: write number/count; two processes are 0/2 and 1/2")
    return int(number), int(count)
