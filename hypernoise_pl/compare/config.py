"""The configuration of a comparison: methods with their budgets, prompts and noises."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from hypernoise_pl.config.identity import described
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.report.rows import MethodInfo
from hypernoise_pl.rewards.base import Verifier
from hypernoise_pl.rewards.features import ImageFeatures
from hypernoise_pl.rewards.latent.base import LatentVerifier
from hypernoise_pl.search.base import Search
from hypernoise_pl.search.none import NoSearch
from hypernoise_pl.types import did_you_mean


@dataclass(frozen=True)
class Method:
    """A method of the comparison.

    Args:
        name: method name, of letters, digits, ``-``, ``_`` and ``.``; the table has a row for each of its budgets.
        search: test-time search; NoSearch for the generator or the hypernetwork without search.
        budgets: network evaluations per image; the search is sized to each of them. Default: the search's own size.
        start: ``gaussian`` noise, or ``hypernetwork`` for the adapter: refined noise (one evaluation per draw), or the
            fine-tuned generator if the adapter is a LoRA on the generator.
        adapter: adapter folder; default: the comparison's.
        verifier: score that the search maximises: ``weighted`` (the ensemble), ``ensemble_rank`` (mean rank over the
            rewards whose weight is not 0; lower scores rank first for a negative weight), the name of a reward or of a
            verifier of the comparison, or ``judge``, the oracle.
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
    """The methods that are compared, and their common prompts and noises.

    Args:
        methods: methods with unique names, in the order of the table.
        verifiers: name -> verifier that methods may search by, in addition to the rewards.
        prompts: number of test prompts, with the tags in equal shares; None for all.
        seeds: noises per prompt, the same for every method.
        unit_size: images per unit of work; a unit is searched together and saved as a whole.
        batch_size: images generated at once; limits memory.
        budget_seconds: seconds per image for every search, instead of its budgets; the speed of each search is measured
            first and stored in the run folder.
        base: name of the method that the others are compared with.
        features: image features for the KID between a method's and the base's images; None to leave KID out.

    Raises:
        ConfigError: if a name is duplicate, invalid or unknown, or a number is below 1.
    """

    methods: list[Method]
    verifiers: dict[str, Verifier | LatentVerifier] = field(default_factory=dict)
    prompts: int | None = None
    seeds: int = 4
    unit_size: int = 120
    batch_size: int = 256
    budget_seconds: float | None = None
    base: str = "none"
    features: ImageFeatures | None = None

    def __post_init__(self) -> None:
        if self.verifiers is None:
            raise ConfigError("compare.verifiers: null; write {} for none")
        names = [method.name for method in self.methods]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"compare.methods: duplicate method name {name!r}; rename one")
            if not name.strip(".") or not all(letter.isalnum() or letter in "-_." for letter in name):
                raise ConfigError(f"compare.methods: invalid method name {name!r}; allowed are letters, digits, - _ .")
        for method in self.methods:
            if method.adapter is not None and method.start == "gaussian":
                raise ConfigError(
                    f"method {method.name!r}: start: gaussian does not use its adapter; set start: hypernetwork or "
                    "leave adapter out"
                )
            for budget in method.budgets or []:
                if (method.budgets or []).count(budget) > 1:
                    raise ConfigError(f"method {method.name!r}: duplicate budget {budget}")
        if self.base not in names:
            raise ConfigError(f"compare.base: no method is called {self.base!r}{did_you_mean(self.base, names)}")
        for key in ("prompts", "seeds", "unit_size", "batch_size"):
            number = getattr(self, key)
            if number is not None and number < 1:
                raise ConfigError(f"compare.{key}: must be at least 1, got {number}")
        if self.budget_seconds is not None and not 0 < self.budget_seconds < math.inf:
            raise ConfigError(f"compare.budget_seconds: must be above 0, got {self.budget_seconds}")


@dataclass(frozen=True)
class Entry:
    """A method at one of its budgets, one row of the table.

    Args:
        label: row name.
        method: method of the comparison.
        search: the method's search, sized to the budget.
        requested_nfe: budget in the configuration; the search's own size without one.
        budget: network evaluations of the sized search.
    """

    label: str
    method: Method
    search: Search
    requested_nfe: int
    budget: int

    @cached_property
    def info(self) -> MethodInfo:
        """The method's columns in the rows of its images."""
        searches = not isinstance(self.search, NoSearch)
        return MethodInfo(
            label=self.label,
            method=self.method.name,
            search=type(self.search).__name__ if searches else None,
            settings=json.dumps(described(self.method.search), sort_keys=True),
            verifier=self.method.verifier,
            trained=self.method.start == "hypernetwork",
            requested_nfe=self.requested_nfe,
            steps=self.method.steps,
        )


def shard_of(text: str | None, environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """The shard number and count: from text such as ``1/4``, else from torchrun's environment, else 0 and 1.

    Raises:
        ConfigError: if the text has another form.
    """
    if text is None:
        return int(environment.get("RANK", 0)), int(environment.get("WORLD_SIZE", 1))
    number, _, count = text.partition("/")
    if not (number.isdigit() and count.isdigit() and int(number) < int(count)):
        raise ConfigError(f"--shard {text}: must be number/count, such as 0/2 and 1/2 for two processes")
    return int(number), int(count)
